/**
 * The orders in which Java's collections hand out their items. Kafka Streams prints a topology straight from hash sets
 * and from sorted sets whose items change while they are in there, so that its text follows from how these work inside.
 */

function hashOf(text: string): number {
  let hash = 0
  for (let index = 0; index < text.length; index++) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0
  return (hash ^ (hash >>> 16)) >>> 0
}

const tableSizeMin = 16

/** In the order of a HashSet (or HashMap) that got these one after another. `sized`: it was made from a collection. */
export function hashOrder(items: Iterable<string>, sized = false): string[] {
  const distinct = [...new Set(items)]
  let size = tableSizeMin
  if (sized) while (size < Math.floor(distinct.length / 0.75) + 1) size *= 2
  else while (distinct.length > size * 0.75) size *= 2
  const mask = size - 1
  return distinct
    .map((text, index) => ({ text, index, bucket: hashOf(text) & mask }))
    .sort((a, b) => a.bucket - b.bucket || a.index - b.index)
    .map((entry) => entry.text)
}

type Branch<T> = {
  readonly item: T
  left: Branch<T> | null
  right: Branch<T> | null
  parent: Branch<T> | null
  red: boolean
}

/**
 * A TreeSet: a red-black tree that looks at its items only while one is added. Where their order changes afterwards,
 * the tree stays as it is, and so does its shape: both decide where the next one goes.
 */
export class TreeSet<T> {
  #root: Branch<T> | null = null
  readonly #compare: (a: T, b: T) => number

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare
  }

  add(item: T): void {
    if (this.#root === null) {
      this.#root = { item, left: null, right: null, parent: null, red: false }
      return
    }
    let at = this.#root
    for (;;) {
      const order = this.#compare(item, at.item)
      if (order === 0) return
      const side = order < 0 ? 'left' : 'right'
      const next = at[side]
      if (next !== null) {
        at = next
        continue
      }
      const added: Branch<T> = { item, left: null, right: null, parent: at, red: true }
      at[side] = added
      this.#balance(added)
      return
    }
  }

  items(): T[] {
    const items: T[] = []
    const walk = (branch: Branch<T> | null): void => {
      if (branch === null) return
      walk(branch.left)
      items.push(branch.item)
      walk(branch.right)
    }
    walk(this.#root)
    return items
  }

  #rotate(branch: Branch<T>, side: 'left' | 'right'): void {
    const other = side === 'left' ? 'right' : 'left'
    const up = branch[other]
    if (up === null) return
    branch[other] = up[side]
    if (up[side] !== null) up[side].parent = branch
    up.parent = branch.parent
    if (branch.parent === null) this.#root = up
    else if (branch.parent.left === branch) branch.parent.left = up
    else branch.parent.right = up
    up[side] = branch
    branch.parent = up
  }

  #balance(added: Branch<T>): void {
    let at = added
    while (at.parent?.red === true) {
      const parent: Branch<T> = at.parent
      const grand = parent.parent
      if (grand === null) break
      const side = grand.left === parent ? 'left' : 'right'
      const other = side === 'left' ? 'right' : 'left'
      const uncle: Branch<T> | null = grand[other]
      if (uncle?.red === true) {
        parent.red = false
        uncle.red = false
        grand.red = true
        at = grand
        continue
      }
      if (parent[other] === at) {
        at = parent
        this.#rotate(at, side)
      }
      if (at.parent !== null) at.parent.red = false
      grand.red = true
      this.#rotate(grand, other)
    }
    if (this.#root !== null) this.#root.red = false
  }
}
