// Problems before and after: a choice of kind and a search, kept in the link.
(() => {
  const pairs = [...document.querySelectorAll(".pair")];
  const kind = document.getElementById("kind");
  if (!kind) return;
  const words = document.getElementById("words");
  const count = document.getElementById("n-pairs");
  const texts = pairs.map((pair) => pair.textContent.toLowerCase());
  kind.parentElement.hidden = false;

  function choose() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    pairs.forEach((pair, i) => {
      const isKind = !kind.value || pair.dataset.kind === kind.value;
      pair.hidden = !(isKind && wanted.every((word) => texts[i].includes(word)));
    });
    const n = pairs.filter((pair) => !pair.hidden).length;
    count.textContent = `${n} of ${pairs.length}`;
  }

  kind.addEventListener("change", () => { choose(); state.set("kind", kind.value); });
  words.addEventListener("input", () => { choose(); state.set("words", words.value); });
  state.follow(() => {
    kind.value = state.get("kind");
    words.value = state.get("words");
    choose();
  });
})();
