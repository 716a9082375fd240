/** Asks for confirmation of an action that affects players. */

const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

/** Returns whether the operator agrees.
 *
 * @param question the question.
 * @param typed a text that the operator must type to agree; empty for none. */
export async function confirmed(question: string, typed = ""): Promise<boolean> {
  const dialog = by<HTMLDialogElement>("confirm");
  const input = by<HTMLInputElement>("typed");
  const yes = by<HTMLButtonElement>("yes");
  by("question").textContent = question;
  by("typed-label").hidden = typed === "";
  by("typed-text").textContent = `Type ${typed}:`;
  input.value = "";
  yes.disabled = typed !== "";
  input.oninput = () => {
    yes.disabled = input.value !== typed;
  };
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes" && input.value === typed;
}
