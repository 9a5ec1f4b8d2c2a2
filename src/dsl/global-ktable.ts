/** A table of which every instance holds all rows: streams join it by any key. */
import { core } from './core.ts'

export class GlobalKTable<K, V> {
  readonly [core]: { readonly store: string; readonly named: boolean; readonly row?: readonly [K, V] }

  constructor(store: string, named: boolean) {
    this[core] = { store, named }
  }

  /** The name under which its store can be asked for. */
  get queryableStoreName(): string | null {
    return this[core].named ? this[core].store : null
  }
}
