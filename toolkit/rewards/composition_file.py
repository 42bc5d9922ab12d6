"""A composition from a YAML file, `composition:FILE.yaml`: rewards by name, with the weights of a preset or of its own.

```yaml
name: my_reward
weights: phases               # explore, balance, exploit, phases, hybrid_70_30 or hybrid_60_40, then parts by role
parts: {rule: correct, heuristic: format_soft, neural: judge:judge.yaml}
```

Without `weights` each part has its own, one number or three for the phases explore, balance and exploit:
`parts: [{reward: correct, weight: 0.7}, {reward: steps, weight: [0.5, 0.3, 0.2]}]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.errors import RewardError
from toolkit.files import read_yaml
from toolkit.rewards import registry
from toolkit.rewards.composition import Composition, Part, weighted
from toolkit.rewards.schedule import Piecewise, phases
from toolkit.rewards.table_file import Reader


def load_composition(path: str | Path) -> Composition:
    """Read a composition. Its `name` becomes the reward's `title`; `normalize` is as in `Composition`.

    Raises:
        RewardError: no such file, no YAML, an unknown key, preset, role or reward (with the nearest), a weight below 0.
    """
    source = f"composition {path}"
    table = read_yaml(Path(path).expanduser(), source, "a YAML file of keys and values", RewardError)
    try:
        return _Reader(source).composition(table)
    except RewardError as error:
        if error.found.startswith(source):
            raise
        raise RewardError(f"{source}: {error.found}", error.wanted, error.next_step) from error


class _Reader(Reader):
    def composition(self, table: Any) -> Composition:
        keys = self.keys(table, "", {"name", "weights", "parts", "normalize"}, {"name", "parts"})
        normalize = keys.get("normalize", False)
        self.checked(normalize, isinstance(normalize, bool), "normalize", "true or false")
        parts = self._by_role(keys) if "weights" in keys else self._listed(keys["parts"])
        return Composition(parts, normalize=normalize, title=self.text(keys["name"], "name"))

    def _by_role(self, keys: dict[str, Any]) -> tuple[Part, ...]:
        parts = self.checked(keys["parts"], isinstance(keys["parts"], dict), "parts", "rewards by role: rule, ...")
        named = {str(role): registry.get(self.text(name, f"parts.{role}")) for role, name in parts.items()}
        return weighted(self.text(keys["weights"], "weights"), named)

    def _listed(self, parts: Any) -> tuple[Part, ...]:
        self.checked(parts, isinstance(parts, list), "parts", "a list of rewards, or `weights:` and rewards by role")
        read = []
        for i, part in enumerate(parts, start=1):
            keys = self.keys(part, f"parts[{i}]", {"reward", "weight"}, {"reward"})
            reward = registry.get(self.text(keys["reward"], f"parts[{i}].reward"))
            read.append(Part(reward, self._weight(keys.get("weight", 1.0), f"parts[{i}].weight")))
        return tuple(read)

    def _weight(self, value: Any, where: str) -> float | Piecewise:
        numbers: list[Any] = value if isinstance(value, list) and len(value) == 3 else [value]
        is_right = all(type(number) in (int, float) and 0 <= number < float("inf") for number in numbers)
        self.checked(value, is_right, where, "a number, 0 or more, or three: explore, balance and exploit")
        return phases(*numbers) if len(numbers) == 3 else float(numbers[0])
