// A dash before a word means "without" to the search; here it belongs to a flag, as in --lambda_L1.
addEventListener("input", ({ target }) => {
  if (target.matches(".md-search__input")) target.value = target.value.replace(/(^|\s)-+/g, "$1");
});

// Lines break after dashes, but the name of a flag stays in one piece.
for (const code of document.querySelectorAll(":not(pre) > code")) {
  code.innerHTML = code.innerHTML.replace(/--?\w+/g, '<span class="flag">$&</span>');
}
