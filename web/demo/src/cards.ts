/** cards: a turn-based game. Only its player sees a hand; all players see the number of cards in it. */

import type { Game } from "./game.js";

const SUITS = ["♣", "♦", "♥", "♠"];
const NAMES = ["clubs", "diamonds", "hearts", "spades"];
const RANKS = ["", "A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K"];

interface Card {
  id: number;
  suit: number;
  rank: number;
  holder: number;
}

export const cards: Game<"cards"> = ({ client, room, stage, say, report, players }) => {
  const template = document.querySelector<HTMLTemplateElement>("#card-table")!;
  const table = template.content.firstElementChild!.cloneNode(true) as HTMLElement;
  stage.append(table);
  const part = <T extends HTMLElement>(selector: string) => table.querySelector<T>(selector)!;
  const draw = part<HTMLButtonElement>(".draw");
  draw.onclick = () => report(room.commands.draw());
  let drawn = "";

  function all(): Card[] {
    const found: Card[] = [];
    room.table("cards").each((id, number) => {
      found.push({ id, suit: number("suit"), rank: number("rank"), holder: number("holder") });
    });
    return found;
  }

  function show(): void {
    const hands = room.table("hands");
    players(hands.size);
    const known = all();
    const me = room.entity;
    const everything = JSON.stringify([known, hands.ids.map((id) => hands.get(id)), me]);
    if (everything === drawn) return; // an unchanged state must not move the focus
    drawn = everything;
    const top = known.find((card) => card.holder === 0);
    const isMyTurn = hands.has(me) && hands.number(me, "has_turn") > 0;
    const list = part<HTMLUListElement>(".hands");
    list.replaceChildren(
      ...hands.ids.map((id) => {
        const item = document.createElement("li");
        item.textContent = `${hands.value(id, "name")}${id === me ? " (you)" : ""}`;
        const small = document.createElement("small");
        small.textContent = `${hands.number(id, "cards")} cards · ${hands.number(id, "score")} won`;
        item.append(small);
        if (hands.number(id, "has_turn") > 0) item.setAttribute("aria-current", "true");
        return item;
      }),
    );
    part(".cards").replaceChildren(...(top ? [face(top, "div")] : []));
    part(".turn").textContent = hands.has(me) ? (isMyTurn ? "Your turn" : "Wait for your turn") : "You are watching";
    const focused = (document.activeElement as HTMLElement | null)?.dataset.card;
    const mine = known.filter((card) => card.holder === me && me !== 0).sort((a, b) => a.suit - b.suit || a.rank - b.rank);
    part(".hand").replaceChildren(
      ...mine.map((card) => {
        const fits = isMyTurn && top !== undefined && (card.suit === top.suit || card.rank === top.rank);
        const button = face(card, "button") as HTMLButtonElement;
        button.classList.toggle("fits", fits);
        button.disabled = !fits;
        button.dataset.card = String(card.id);
        button.onclick = () => report(room.commands.play({ card: card.id }));
        return button;
      }),
    );
    if (focused) table.querySelector<HTMLElement>(`[data-card="${focused}"]`)?.focus();
    draw.hidden = !hands.has(me);
    draw.disabled = !isMyTurn;
  }

  const subscriptions = [
    client.on("state", show),
    room.on("round", ({ winner }) => say("table", `${room.table("hands").value(winner, "name") ?? "a player who left"} won the round`)),
  ];
  if (room.isJoined) show();
  return {
    stop: () => {
      for (const end of subscriptions) end();
    },
  };
};

function face(card: Card, kind: "div" | "button"): HTMLElement {
  const element = document.createElement(kind);
  element.className = `card${card.suit === 1 || card.suit === 2 ? " red" : ""}`;
  element.append(RANKS[card.rank] ?? "?", document.createElement("br"), SUITS[card.suit] ?? "?");
  element.setAttribute("aria-label", `${RANKS[card.rank]} of ${NAMES[card.suit]}`);
  return element;
}
