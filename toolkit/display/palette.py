"""The colours of charts, pages and pictures: one name each, on white and on near-black."""

from __future__ import annotations

# Series in Okabe and Ito's colours, which are told apart with any kind of colour blindness; on black they are lighter
LIGHT = {
    "ink": "#222222",
    "grey": "#6a6a6a",
    "line": "#e2e2e2",
    "paper": "#ffffff",
    "soft": "#f5f6f8",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#009e73",
    "c4": "#cc79a7",
    "c5": "#e69f00",
    "c6": "#56b4e9",
    "green": "#18794e",
    "info": "#5f6b7a",
    "amber": "#8a5a00",
    "red": "#c02d1c",
}
DARK = {
    "ink": "#e8e8e8",
    "grey": "#a3a8ae",
    "line": "#363a40",
    "paper": "#15171a",
    "soft": "#1e2125",
    "c1": "#58a9e6",
    "c2": "#ff8a52",
    "c3": "#33c79a",
    "c4": "#e59cc7",
    "c5": "#f0b63c",
    "c6": "#9ad6fb",
    "green": "#4cc38a",
    "info": "#9aa7b5",
    "amber": "#e8b34a",
    "red": "#ff8073",
}
SERIES = tuple(f"c{i}" for i in range(1, 7))
COLOURS = tuple(LIGHT[name] for name in SERIES)
"""For a picture on white, by the number of the series."""
