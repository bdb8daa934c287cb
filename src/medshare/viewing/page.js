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
  const blob = await (await get(`/file/${file}/picture/${number}`)).blob();
  if (file !== chosen || at("slider").value !== String(number)) return;
  at("picture").src = address(blob);
  at("where").textContent = `${number + 1} of ${Number(at("slider").max) + 1}`;
}

async function show(number) {
  chosen = number;
  clear();
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

at("slider").addEventListener("input", () => guarded(picture)(Number(at("slider").value)));
guarded(begin)();
