/** The player in a browser: its page has the parameters `server`, `room` and `name`, and its lines are messages of the console. */

import { play } from "./play.js";

const parameters = new URLSearchParams(location.search);
const parameter = (name: string) => parameters.get(name)!;
const print = (line: object) => console.log(JSON.stringify(line));
play(parameter("server"), parameter("room"), parameter("name"), print).catch((error: unknown) => print({ error: String(error) }));
