/** A stream that is split: each record goes down the first branch whose test holds. */
import { attach, callable, core, streamCore } from './core.ts'
import { LogicalNode, named } from './graph.ts'
import { KStream } from './kstream.ts'
import type { Gap, NameOption, Predicate } from './types.ts'

export type BranchOptions<K, V, G extends Gap> = {
  /** The branch's node is called `<split><name>`; default is the branch's number. */
  readonly name?: string
  /** What is done with the branch. A stream that it returns stands in the result; without one the branch isn't there. */
  readonly chain?: (branch: KStream<K, V, G>) => unknown
}

type Branch = { readonly child: string; readonly test: Predicate<unknown, unknown> }

export class BranchedKStream<K, V, G extends Gap = never> {
  readonly #source: KStream<K, V, G>
  readonly #name: string
  readonly #node: LogicalNode
  readonly #branches: Branch[] = []
  readonly #streams = new Map<string, KStream<K, V, G>>()
  #otherwise: string | null = null

  constructor(source: KStream<K, V, G>, options: NameOption) {
    this.#source = source
    const { builder, node } = source[core]
    this.#name = named(builder.graph.names, options.name, 'KSTREAM-BRANCH-')
    this.#node = builder.graph.add(
      node,
      new LogicalNode(this.#name, {
        write: (to, at) =>
          to.add({
            kind: 'branch',
            name: this.#name,
            from: at.from,
            branches: [...this.#branches],
            otherwise: this.#otherwise,
          }),
      }),
    )
  }

  /** For the records for which `test` holds and that no branch before took. */
  branch(test: Predicate<K, V>, options: BranchOptions<K, V, G> = {}): this {
    callable(test, this.#name, 'the test of a branch')
    const child = this.#childName(options, this.#branches.length + 1)
    this.#branches.push({ child, test: test as Predicate<unknown, unknown> })
    this.#add(child, options)
    return this
  }

  /** For the records that no branch took. Ends the split. */
  defaultBranch(options: BranchOptions<K, V, G> = {}): ReadonlyMap<string, KStream<K, V, G>> {
    const child = this.#childName(options, 0)
    this.#otherwise = child
    this.#add(child, options)
    return this.#streams
  }

  /** Records that no branch took end here. Ends the split. */
  noDefaultBranch(): ReadonlyMap<string, KStream<K, V, G>> {
    return this.#streams
  }

  #childName(options: BranchOptions<K, V, G>, index: number): string {
    return `${this.#name}${options.name ?? index}`
  }

  #add(child: string, options: BranchOptions<K, V, G>): void {
    const source = this.#source[core]
    const made = attach(source.builder, this.#node, child, child, (name, from) => ({
      kind: 'pass',
      name,
      from,
    }))
    const branch = new KStream<K, V, G>(streamCore(source, made, source.keySerde, source.valueSerde))
    const result = options.chain === undefined ? branch : options.chain(branch)
    if (result instanceof KStream) this.#streams.set(child, result)
  }
}
