"use strict";

// Everything that came with the parcel is set as text, never as markup.
const token = location.hash.slice(1);
history.replaceState(null, "", "/");
const at = (id) => document.getElementById(id);
let chosen = null;
let addresses = [];

async function get(path) {
  const answer = await fetch(path, {
    headers: { Authorization: `Bearer ${token}` },
    cache: "no-store",
    credentials: "omit",
  });
  if (answer.ok) return answer;
  if (answer.status === 409) throw new Error((await answer.json()).problem);
  throw new Error(
    answer.status === 403
      ? "open this page with the whole address that medshare view has printed"
      : "this cannot be shown",
  );
}

function address(blob) {
  const made = URL.createObjectURL(blob);
  addresses.push(made);
  return made;
}

function clear() {
  addresses.forEach((one) => URL.revokeObjectURL(one));
  addresses = [];
  at("problem").textContent = at("text").textContent = "";
  at("rows").replaceChildren();
  at("pictures").hidden = at("pdf").hidden = true;
  at("picture").removeAttribute("src");
}

async function picture(number) {
  const file = chosen;
  const chosenWindow = at("window").value;
  const blob = await (await get(`/file/${file}/picture/${number}${chosenWindow}`)).blob();
  if (file !== chosen || at("slider").value !== String(number)) return;
  if (chosenWindow !== at("window").value) return;
  at("picture").src = address(blob);
  at("where").textContent = `${number + 1} of ${Number(at("slider").max) + 1}`;
}

async function show(number) {
  chosen = number;
  clear();
  const buttons = at("files").querySelectorAll("button");
  buttons.forEach((one, other) => one.classList.toggle("chosen", other === number));
  buttons[number].scrollIntoView({ block: "nearest" });
  const file = await (await get(`/file/${number}`)).json();
  if (chosen !== number) return;
  at("problem").textContent = file.problem;
  at("text").textContent = file.text;
  for (const [name, value] of file.rows) {
    const row = at("rows").insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = value;
  }
  if (file.pictures > 0) {
    at("slider").max = file.pictures - 1;
    at("slider").value = 0;
    at("slider").hidden = file.pictures === 1;
    at("window").hidden = file.kind !== "dicom";
    at("pictures").hidden = false;
    await picture(0);
  }
  if (file.kind === "pdf") {
    at("pdf").src = address(await (await get(`/file/${number}/content`)).blob());
    at("pdf").hidden = false;
  }
  if (file.kind === "other") at("problem").textContent ||= "this kind of file cannot be shown here";
}

const guarded = (act) => (...given) =>
  act(...given).catch((error) => {
    clear();
    at("problem").textContent = error.message;
  });

async function begin() {
  const listed = await (await get("/files")).json();
  at("title").textContent = listed.title;
  listed.files.forEach((file, number) => {
    const button = document.createElement("button");
    button.textContent = file.path;
    button.addEventListener("click", () => guarded(show)(number));
    const item = document.createElement("li");
    item.append(button);
    at("files").append(item);
  });
}

// One step through the pictures of a file, and beyond them through the files.
function step(by) {
  const slider = at("slider");
  const next = Number(slider.value) + by;
  if (!at("pictures").hidden && next >= 0 && next <= Number(slider.max)) {
    slider.value = next;
    guarded(picture)(next);
  } else if (chosen !== null && chosen + by >= 0 && chosen + by < at("files").children.length) {
    guarded(show)(chosen + by);
  }
}

for (const name of ["slider", "window"]) {
  at(name).addEventListener("input", () => guarded(picture)(Number(at("slider").value)));
}
at("picture").addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    step(Math.sign(event.deltaY));
  },
  { passive: false },
);
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select")) return;
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
guarded(begin)();
