/** The demo page: one session, one game at a time, a name, an account, a chat and the network panel. */

import { browserStorage, type Client, ClientError, connect, type Room } from "tickwire";

import { AccountPanel, apiUrl, hasSavedLogin } from "./account.js";
import { arena } from "./arena.js";
import { cards } from "./cards.js";
import type { Game, Rooms, RunningGame } from "./game.js";
import { Panel } from "./panel.js";
import { plaza } from "./plaza.js";
import { createSocket, NetworkConditions } from "./network_conditions.js";

const GAMES: { [T in keyof Rooms]: Game<T> } = { arena, plaza, cards };
const LINES_MAX = 60;
const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const stage = by("stage");
const status = by("status");
const conditions = new NetworkConditions();
const panel = new Panel(by("panel"), conditions);
const query = new URLSearchParams(location.search);
let playing: RunningGame | null = null;
let client: Client<Rooms> | null = null;
let account: AccountPanel | null = null;
let turns = 0; // counts calls of `play`: a call that is superseded while it connects stops

function serverUrl(): string {
  return query.get("server") ?? `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`;
}

function wanted(): keyof Rooms {
  const game = location.hash.slice(1);
  return game in GAMES ? (game as keyof Rooms) : "arena";
}

function say(who: string, words: string): void {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = `${who} `;
  line.append(name, words);
  const said = by("said");
  said.append(line);
  while (said.children.length > LINES_MAX) said.firstChild!.remove();
  said.scrollTop = said.scrollHeight;
}

/** Shows an error of background work in the chat. */
function report(work: Promise<unknown>): void {
  work.catch((error: unknown) => {
    if (!(error instanceof ClientError)) throw error;
    say("!", error.message);
  });
}

/** Plays the game that the address names, under the name in the field. A later call supersedes an earlier one. */
async function play(): Promise<void> {
  const turn = ++turns;
  try {
    await enter(wanted(), () => turn === turns);
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    if (turn === turns) status.textContent = error.message;
  }
}

async function enter<T extends keyof Rooms>(game: T, isCurrent: () => boolean): Promise<void> {
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.getAttribute("href") === `#${game}`);
  }
  playing?.stop();
  playing = null;
  client?.close();
  stage.replaceChildren(status);
  status.textContent = "connecting …";
  by<HTMLInputElement>("words").disabled = game === "cards";
  const name = by<HTMLInputElement>("name").value.trim() || "pilot";
  const mine = await connect<Rooms>(serverUrl(), {
    build: "demo",
    token: async () => (await account?.token()) ?? "",
    socket: createSocket(conditions),
    sessionStorage: browserStorage("tickwire", () => sessionStorage), // each tab is a player
  });
  if (!isCurrent()) {
    mine.close();
    return;
  }
  client = mine;
  panel.attach(mine);
  listen(mine);
  const room = await roomOf(mine, game, query.get("room") ?? "lobby", name);
  if (!isCurrent()) return; // superseded and closed meanwhile
  status.textContent = "";
  playing = GAMES[game]({ client: mine, room: room as Room<Rooms[T]>, stage, name, say, report, players: (count) => panel.players(count) });
}

/** Returns the room of the player before the page was reloaded, or joins one. */
async function roomOf(mine: Client<Rooms>, game: keyof Rooms, roomName: string, name: string): Promise<Room> {
  const before = mine.room;
  if (before?.roomType === game && before.roomName === roomName) return before;
  if (before) await mine.leave();
  // All games have the same options, which the compiler cannot know for a game in a variable.
  return mine.join<keyof Rooms>(game, { name: roomName, options: { name } });
}

/** Shows changes of the connection. */
function listen(mine: Client): void {
  const show = (text: string) => {
    if (mine === client) status.textContent = text;
  };
  mine.on("disconnected", () => show("connection lost: reconnecting …"));
  mine.on("reconnected", ({ isSameSession }) => {
    show(isSameSession ? "" : "the session was lost");
    if (!isSameSession && mine === client) void play();
  });
  mine.on("left", ({ reason }) => show(`the room has ended: ${reason}`));
  mine.on("closed", (error) => show(error.message));
}

const name = by<HTMLInputElement>("name");
const known = query.get("name") ?? localStorage.getItem("name") ?? sessionStorage.getItem("name");
name.value = known ?? `pilot-${Math.floor(Math.random() * 900 + 100)}`;
sessionStorage.setItem("name", name.value); // a reloaded page continues under this name
name.onchange = () => {
  localStorage.setItem("name", name.value);
  void play();
};
by<HTMLFormElement>("say").onsubmit = (event) => {
  event.preventDefault();
  const words = by<HTMLInputElement>("words");
  if (words.value.trim() && playing?.say) report(playing.say(words.value.trim()));
  words.value = "";
};
addEventListener("hashchange", () => void play());
document.querySelector("nav")!.addEventListener("click", (event) => {
  const isSame = event.target instanceof HTMLAnchorElement && event.target.hash === `#${wanted()}`;
  if (isSame && client?.state === "closed") void play(); // starts again after the session ended
});
declare global {
  interface Window {
    tickwire: () => Client | null;
  }
}
window.tickwire = () => client; // for the console, and for tests
const opening = AccountPanel.open(apiUrl(query), () => void play()).then((panel) => (account = panel));
if (hasSavedLogin()) void opening.then(play);
else void play();
