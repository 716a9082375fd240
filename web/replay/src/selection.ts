/** The selected entity. */

export class Selection {
  table = "";
  id = 0;

  constructor(private readonly changed: () => void) {}

  is(table: string, id: number): boolean {
    return table === this.table && id === this.id;
  }

  select(table: string, id: number): void {
    this.table = table;
    this.id = id;
    this.changed();
  }
}
