// Keeps the page up to date by server-sent events. The server words every
// cell; this only puts the words in their place.

const silence = 40_000; // ms without a sign of the server: longer than two beats
const again = 5_000; // ms between two tries

const cells = new Map();
for (const element of document.querySelectorAll("[data-cell]")) {
  cells.set(element.dataset.cell, element);
}
const link = document.getElementById("link");
const layout = document.documentElement.dataset.layout;

/** Says how fresh the page is; a screen reader hears it only when it changes. */
function say(text) {
  if (link.textContent !== text) {
    link.textContent = text;
  }
}

function show(changed) {
  for (const [key, [text, state]] of Object.entries(changed)) {
    const element = cells.get(key);
    if (!element) {
      continue;
    }
    if (element.textContent !== text) {
      element.textContent = text;
    }
    if (element.dataset.state !== state) {
      element.dataset.state = state;
    }
  }
}

function follow() {
  const source = new EventSource("events?layout=" + encodeURIComponent(layout));
  let timer;

  function lost() {
    clearTimeout(timer);
    source.close();
    say("The gateway does not answer: these figures are old. Trying again.");
    setTimeout(follow, again);
  }
  function alive() {
    clearTimeout(timer);
    timer = setTimeout(lost, silence);
    say("Live.");
  }

  timer = setTimeout(lost, silence);
  source.addEventListener("cells", (event) => {
    show(JSON.parse(event.data));
    alive();
  });
  source.addEventListener("beat", alive);
  source.addEventListener("layout", () => {
    clearTimeout(timer);
    source.close();
    say("The configuration has changed: loading the page again.");
    setTimeout(() => location.reload(), again);
  });
  // A browser gives up for good on a server that refuses; this doesn't.
  source.addEventListener("error", lost);
}

follow();
