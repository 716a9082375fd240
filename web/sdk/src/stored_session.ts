/** The text from which a client resumes its session after the page was reloaded, and whose session it is. Pure.
 *
 * `attempt` and `command_id` must increase over the life of a session, but the text is not saved with each of them. The text
 * therefore has numbers that are reached later. */

const VERSION = 1;
export const ATTEMPTS_AHEAD = 16;
export const COMMANDS_AHEAD = 1024;

export interface StoredSession {
  /** The address of the session's shard. */
  readonly url: string;
  /** The address that the client connected to first. */
  readonly initialUrl: string;
  /** The player's id, from the token; empty for a guest. */
  readonly player: string;
  readonly resumeToken: string;
  /** The newest event that was received. */
  readonly lastEvent: number;
  /** At least the number of the last Hello. */
  readonly attempt: number;
  /** At least the id of the last command. */
  readonly commandId: number;
}

/** Returns the text to save. All clients write the same one. */
export function toText(session: StoredSession): string {
  return JSON.stringify({
    version: VERSION,
    url: session.url,
    initial_url: session.initialUrl,
    player: session.player,
    resume_token: session.resumeToken,
    last_event: session.lastEvent,
    attempt: session.attempt,
    command_id: session.commandId,
  });
}

/** Decodes a saved text; null if it is invalid, or of a client with another initial address. */
export function storedSessionFrom(text: string, initialUrl: string): StoredSession | null {
  const saved = parseObject(text);
  if (!saved || saved.version !== VERSION || saved.initial_url !== initialUrl || !saved.resume_token) return null;
  const { url, player, resume_token: resumeToken, last_event: lastEvent, attempt, command_id: commandId } = saved;
  const areTexts = [url, player, resumeToken].every((value) => typeof value === "string");
  const areNumbers = [lastEvent, attempt, commandId].every(Number.isSafeInteger);
  if (!areTexts || !areNumbers || (initialUrl.startsWith("wss:") && !(url as string).startsWith("wss:"))) return null;
  return { url, initialUrl, player, resumeToken, lastEvent, attempt, commandId } as StoredSession;
}

/** Returns the claim `sub` of a JSON Web Token, without verification; empty without one.
 *
 * It only prevents that a player continues the session of another one on the same device. The server verifies. */
export function playerFromToken(token: string): string {
  const parts = token.split(".");
  if (parts.length !== 3) return "";
  try {
    const binary = atob(parts[1]!.replace(/-/g, "+").replace(/_/g, "/"));
    const player = parseObject(new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0))))?.sub;
    return typeof player === "string" ? player : "";
  } catch {
    return ""; // not base64
  }
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null; // not JSON
  }
}
