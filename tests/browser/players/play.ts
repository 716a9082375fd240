/** The player that uses the TypeScript client. See tests/harness/players.py for its lines. */

import { type Options, connect } from "tickwire";

const INPUT_MS = 50;
const COUNT_MS = 400;

export type Print = (line: object) => void;

/** Plays until the round is over. */
export async function play(url: string, roomName: string, name: string, print: Print, options: Options = {}): Promise<void> {
  const client = await connect(url, options);
  const [counts, beats]: [number[], number[]] = [[], []];
  let sent = 0;
  let isOver = false;
  client.on("state", ({ tick }) => {
    print({ tick, crc: client.world.checksum() });
    client.world.table("rounds").each((_, number) => (isOver ||= number("is_over") === 1));
  });
  client.on("event", ({ payload }) => beats.push((payload as { number: number }).number));
  client.on("disconnected", () => print({ event: "disconnected" }));
  client.on("reconnected", () => print({ event: "reconnected" }));
  const room = await client.join("playground", { name: roomName, options: { name } });
  print({ event: "joined", entity: room.entity });

  const sendInputs = async () => {
    for (let number = 0; !isOver; number++) {
      if (room.sendInput({ dx: Math.cos(number / 10), dy: Math.sin(number / 10) })) sent += 1;
      await pause(INPUT_MS);
    }
  };
  const count = async () => {
    while (!isOver) {
      counts.push((await room.commands.count()) as number);
      await pause(COUNT_MS);
    }
  };
  await Promise.all([sendInputs(), count()]);

  const { world, core, resumes, sessionsLost: sessions_lost } = client;
  const squares = world.table("squares");
  const names = squares.ids.map((id) => squares.value(id, "name") as string).sort();
  const { mismatches, resyncs, acknowledgedSeq: acknowledged } = core;
  print({ done: { resumes, sessions_lost, mismatches, resyncs, sent, acknowledged, counts, beats, crc: world.checksum(), tick: world.tick, names } });
  client.close();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
