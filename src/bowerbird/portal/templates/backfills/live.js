// The same page is asked for again, and what has changed in it takes the place of what is shown.
const here = new URL(location.href);
here.searchParams.delete("token"); // the cookie says it from now on
history.replaceState(null, "", here);
const moving = () => document.querySelector("[data-moving]") !== null;
async function look() {
  let there = true;
  if (!document.hidden) {
    try {
      const answer = await fetch(here);
      there = answer.ok;
      if (there) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { there = false; }
    document.getElementById("away").hidden = there;
  }
  setTimeout(look, moving() ? 1500 : 15000);
}
function show(page) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = page.getElementById(old.id);
    if (now === null) continue;
    const folds = old.querySelectorAll("details"); // stay as somebody has left them
    now.querySelectorAll("details").forEach((one, n) => { one.open = folds[n]?.open ?? one.open; });
    if (now.isEqualNode(old)) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(now);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}
setTimeout(look, moving() ? 1500 : 15000);
