/** The recordings of this shard: each can be downloaded, and is then opened with the command that is shown. */

import { download, type Recording } from "./api.js";
import { button, fill } from "./tables.js";

export function showRecordings(recordings: readonly Recording[], failed: (error: Error) => void): void {
  const section = document.getElementById("recordings")!;
  section.hidden = recordings.length === 0;
  if (hasSelection(section)) return; // replacing a selected command would lose the selection
  const rows = recordings.map((recording) => [
    recording.trigger,
    `${(recording.size / 1024).toFixed(1)} KB`,
    recording.is_complete ? button("download", "", () => void save(recording.name).catch(failed)) : "not complete",
    recording.is_complete ? command(recording.name) : recording.name,
  ]);
  fill(document.getElementById("recording-list")!, ["trigger", "size", "", "open the file with"], rows);
}

function command(name: string): HTMLElement {
  const made = document.createElement("code");
  made.textContent = `tickwire replay ${name} --serve`;
  return made;
}

function hasSelection(section: HTMLElement): boolean {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && section.contains(selection.anchorNode);
}

async function save(name: string): Promise<void> {
  const url = URL.createObjectURL(await download(`/recordings/${encodeURIComponent(name)}`));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
