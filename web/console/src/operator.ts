/** The operator that uses the console. Actions that its role does not allow are hidden; the API refuses them, too. */

import { type Operator, request } from "./api.js";

const ROLES: readonly string[] = ["read", "support", "admin"];
let operator: Operator | null = null;

/** Asks for the operator once, and hides the elements with `data-role` above its role. */
export async function showOperator(): Promise<void> {
  if (operator) return;
  operator = await request<Operator>("/operator");
  document.getElementById("operator")!.textContent = `${operator.name} (${operator.role})`;
  for (const element of document.querySelectorAll<HTMLElement>("[data-role]")) {
    element.hidden = !may(element.dataset["role"]!);
  }
}

/** Asks again for the operator, because another one has signed in. */
export function forgetOperator(): void {
  operator = null;
}

/** Returns whether the operator has the rights of a role. */
export function may(role: string): boolean {
  return operator !== null && ROLES.indexOf(operator.role) >= ROLES.indexOf(role);
}
