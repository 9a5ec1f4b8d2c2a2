/**
 * Random conformance cases without answers: topologies that a person could have written, and inputs with the times,
 * nulls and repeats that make operators differ. The same seed always gives the same cases.
 */
import type { Case, CaseInput, Json, Op } from './case.ts'

/** What an operation's result is: its id, whether stream or table, of what values, and whether they grow long. */
type Made = readonly [id: string, type: 'stream' | 'table' | 'windowed', kind: Kind, long: boolean]
type Kind = 'int' | 'word' | 'obj' | 'left' | 'right'
type Fn = readonly Json[]

type CaseRecordInput = Extract<CaseInput, { readonly topic: string }>

const kinds: readonly Kind[] = ['int', 'word', 'obj']
const words = ['hello', 'hi there', 'one two', 'x', 'yes', 'zero', 'he', '7', '12', 'a b c']

/** How a case differs from the plain ones: nothing, typed keys, a cache over several records, several partitions. */
const variants = ['plain', 'plain', 'plain', 'keys', 'cache', 'partitions'] as const

/** A small fast generator of random numbers (mulberry32) from a text. */
function randomOf(seed: string): () => number {
  let state = 2166136261
  for (let index = 0; index < seed.length; index++)
    state = Math.imul(state ^ seed.charCodeAt(index), 16777619)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

class Draft {
  readonly ops: Op[] = []
  readonly config: Record<string, Json> = {}
  readonly topics = new Map<string, Kind>()
  readonly globals = new Set<string>()
  readonly variant: (typeof variants)[number]
  readonly unit: number
  readonly keys: readonly string[]
  wall = false
  inputs: readonly [number, number] = [30, 70]
  readonly #random: () => number
  readonly #base: number
  readonly #span: number
  #stores = 0
  #sinks = 0

  constructor(seed: string) {
    this.#random = randomOf(seed)
    this.variant = this.of(variants)
    this.unit = this.one(1, 1, 1, 1, 1, 1, 1000, 10000)
    this.#base = this.chance(0.7) ? 0 : this.unit > 1 ? 1_700_000_000_000 : 5000
    this.keys = ['a', 'b', 'c', 'd', 'e'].slice(0, this.between(2, 5))
    this.#span = this.one(80, 150, 300)
    if (this.chance(0.08)) this.config['optimize'] = true
  }

  chance(share: number): boolean {
    return this.#random() < share
  }

  between(low: number, high: number): number {
    return low + Math.floor(this.#random() * (high - low + 1))
  }

  one<T>(...list: readonly T[]): T {
    return this.of(list)
  }

  of<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)] as T
  }

  time(units: number): number {
    return units * this.unit
  }

  add(op: string, from: Json | undefined, more: Readonly<Record<string, Json | undefined>> = {}): string {
    const id = `n${this.ops.length + 1}`
    const whole: Record<string, Json> = { id, op }
    if (from !== undefined) whole['from'] = from
    for (const [name, value] of Object.entries(more)) if (value !== undefined) whole[name] = value
    this.ops.push(whole as Op)
    return id
  }

  store(share = 0.8): string | undefined {
    return this.chance(share) ? `st${++this.#stores}` : undefined
  }

  topic(kind: Kind): string {
    const name = `t${this.topics.size + 1}`
    this.topics.set(name, kind)
    return name
  }

  // ------------------------------------------------------------------------------------------- functions

  value(kind: Kind): Fn {
    if (kind === 'obj') {
      return this.one<Fn>(
        ['identity'],
        ['field', 'n'],
        ['field', 'g'],
        ['setField', 'n', ['add', 1]],
        ['setField', 'm', ['field', 'g']],
        ['withKey'],
        ['nullIf', ['fieldGt', 'n', 8]],
      )
    }
    if (kind === 'int') {
      const plus = ['add', this.between(-3, 5)] as const
      return this.one<Fn>(
        plus,
        ['mul', 2],
        ['str'],
        ['wrap', 'n'],
        ['withKey'],
        ['nullIf', ['even']],
        ['identity'],
      )
    }
    return this.one<Fn>(
      ['upper'],
      ['append', '!'],
      ['prepend', '>'],
      ['length'],
      ['withKey'],
      ['nullIf', ['startsWith', 'h']],
      ['identity'],
      ['if', ['gt', 3], ['const', 'big'], ['const', 'small']],
    )
  }

  key(kind: Kind): Fn {
    const list: Fn[] = [
      ['key'],
      ['append', '1'],
      ['prefix', 1],
      ['const', 'all'],
      ['mod', 3],
      ['if', ['keyEq', 'a'], ['const', 'A'], ['key']],
    ]
    if (kind === 'obj') list.push(['field', 'g'], ['field', 'g'], ['field', 'fk'])
    else list.push(['valuePrefix', 1], ['valuePrefix', 1])
    return this.of(list)
  }

  predicate(kind: Kind): Fn {
    const list: Fn[] = [
      ['notNull'],
      ['keyEq', this.of(this.keys)],
      ['not', ['keyEq', this.of(this.keys)]],
      ['isNull'],
      ['even'],
      ['gt', this.between(-2, 6)],
      ['le', this.between(2, 9)],
    ]
    if (kind === 'obj')
      for (let times = 0; times < 3; times++) list.push(['fieldGt', 'n', this.between(0, 8)])
    if (kind === 'word') {
      list.push(['contains', 'e'], ['startsWith', 'h'], ['or', ['contains', 'o'], ['isNull']])
    }
    return this.of(list)
  }

  joiner(long: boolean): Fn {
    if (long) return this.one<Fn>(['sum'], ['left'], ['concat'], ['concatWithKey'])
    const short: Fn[] = [['sum'], ['left'], ['right'], ['nullIfRightNull'], ['obj']]
    for (let times = 0; times < 4; times++) short.push(['concat'], ['concatWithKey'])
    return this.of(short)
  }

  // ------------------------------------------------------------------------------------------- sources, sinks

  stream(kind: Kind = this.of(kinds)): Made {
    return [this.add('stream', undefined, { topics: [this.topic(kind)] }), 'stream', kind, false]
  }

  table(kind: Kind = this.of(kinds), versioned = 0): Made {
    const keeps = this.chance(versioned)
    const id = this.add('table', undefined, {
      topic: this.topic(kind),
      store: this.store(keeps ? 1 : 0.7),
      historyRetention: keeps ? this.time(this.one(20, 100, 1000)) : undefined,
    })
    return [id, 'table', kind, false]
  }

  sink(made: Made): void {
    const from = made[1] === 'stream' ? made[0] : this.add('toStream', made[0])
    this.add('to', from, { topic: `o${++this.#sinks}` })
  }

  // ------------------------------------------------------------------------------------------- streams

  maybe(made: Made, share = 0.5, times = 2): Made {
    let on = made
    for (let index = 0; index < times; index++) if (this.chance(share)) on = this.stateless(on)
    return on
  }

  stateless([id, type, kind, long]: Made): Made {
    let what = this.one(
      'mapValues',
      'mapValues',
      'filter',
      'filterNot',
      'map',
      'selectKey',
      'flatMapValues',
      'flatMap',
      'processValues',
      'repartition',
    )
    if (long && what.startsWith('flatMap')) what = 'mapValues'
    switch (what) {
      case 'mapValues': {
        const fn = this.value(kind)
        return [this.add(what, id, { fn }), type, kindAfter(fn, kind), long]
      }
      case 'filter':
      case 'filterNot':
        return [this.add(what, id, { pred: this.predicate(kind) }), type, kind, long]
      case 'map': {
        const value = this.value(kind)
        return [this.add('map', id, { key: this.key(kind), value }), type, kindAfter(value, kind), long]
      }
      case 'selectKey':
        return [this.add('selectKey', id, { fn: this.key(kind) }), type, kind, long]
      case 'flatMapValues': {
        const fn = this.one<Fn>(
          ['splitWords'],
          ['list', ['identity'], ['withKey']],
          ['list', ['null'], ['identity']],
        )
        return [this.add(what, id, { fn }), type, 'word', long]
      }
      case 'flatMap': {
        const fn = this.one<Fn>(
          ['wordsToKeys'],
          ['pairs', [['key'], ['identity']], [['append', 'x'], ['str']]],
        )
        return [this.add(what, id, { fn }), type, 'word', long]
      }
      case 'processValues': {
        const processor =
          long || kind === 'obj' ? 'dedupe' : this.one('dedupe', 'runningCount', 'previous', 'times')
        const store = processor === 'times' ? undefined : this.store(1)
        const made = this.add(what, id, { processor: [processor], store })
        return [made, type, processor === 'dedupe' ? kind : 'obj', long]
      }
      default:
        return [this.add('repartition', id), type, kind, long]
    }
  }

  window(list: readonly string[] = ['tumbling', 'hopping', 'sliding', 'session']): Record<string, Json> {
    const type = this.of(list)
    const grace = this.time(this.one(0, 0, 3, 5, 10, 25, 60))
    if (type === 'tumbling') return { type, size: this.time(this.one(5, 10, 20, 40)), grace }
    if (type === 'hopping') {
      const [size, advance] = this.of([
        [10, 5],
        [10, 4],
        [20, 10],
        [30, 10],
        [12, 5],
        [7, 3],
      ] as const)
      return { type, size: this.time(size), advance: this.time(advance), grace }
    }
    if (type === 'sliding') return { type, diff: this.time(this.one(3, 5, 10, 15)), grace }
    return { type, gap: this.time(this.one(2, 5, 8, 12)), grace }
  }

  group([id, , kind]: Made, name?: string): string {
    if (this.chance(0.6)) return this.add('groupByKey', id, { name })
    return this.add('groupBy', id, { fn: this.key(kind), name })
  }

  aggregate(
    group: string,
    long: boolean,
    session: boolean,
    retention?: number,
  ): readonly [string, Kind, boolean] {
    const what = this.one('count', 'reduce', 'aggregate', 'aggregate')
    const store = this.store()
    if (what === 'count') return [this.add('count', group, { store, retention }), 'int', long]
    if (what === 'reduce') {
      const names = ['sum', 'max', 'min', 'last', 'first', 'sumOrNull']
      const fn: Fn = long || this.chance(0.55) ? [this.of(names)] : ['concat', '+']
      return [this.add('reduce', group, { fn, store, retention }), 'word', long || fn[0] === 'concat']
    }
    const short: (readonly [Json, Fn])[] = [
      [0, ['sum']],
      [0, ['count']],
      [null, ['max']],
      [null, ['min']],
      [0, ['sumOrNull']],
    ]
    const texts: (readonly [Json, Fn])[] = [
      ['', ['concat', '+']],
      ['.', ['concatWithKey', ',']],
      [[], ['collect']],
      ['', ['concat', '+']],
    ]
    const [init, agg] = this.of(long || this.chance(0.4) ? short : texts)
    const name = agg[0] as string
    const mergers: Readonly<Record<string, Fn>> = {
      concat: ['concat', '&'],
      concatWithKey: ['concat', '&'],
      collect: ['collect'],
      max: ['max'],
      min: ['min'],
    }
    const merger = session ? (mergers[name] ?? (['sum'] as const)) : undefined
    const id = this.add('aggregate', group, { agg, store, merger, retention, init })
    return [id, 'word', long || ['concat', 'concatWithKey', 'collect'].includes(name)]
  }

  streamAggregate(made: Made): Made {
    const [id, kind, long] = this.aggregate(this.group(made), made[3], false)
    return [id, 'table', kind, long]
  }

  windowAggregate(made: Made, list?: readonly string[], emit?: string): Made {
    const group = this.group(made)
    const window = this.window(list)
    const keeps = (emit === 'onWindowClose' && this.chance(0.7)) || this.chance(0.15)
    // There, what a cache holds outlives its retention, so that results depend on the cache; that is left out.
    const windowed = this.add('windowedBy', group, { window, emit })
    const retention = this.variant === 'cache' ? this.time(100_000) : keeps ? this.time(2000) : undefined
    const [id, kind, long] = this.aggregate(windowed, made[3], window['type'] === 'session', retention)
    return [id, 'windowed', kind, long]
  }

  // ------------------------------------------------------------------------------------------- tables

  tableOperation(made: Made): Made {
    const [id, type, kind, long] = made
    const what =
      type === 'windowed'
        ? this.one('filter', 'filterNot', 'mapValues', 'transformValues')
        : this.one(
            'filter',
            'filterNot',
            'mapValues',
            'mapValues',
            'transformValues',
            'group',
            'group',
            'roundtrip',
            'suppress',
          )
    switch (what) {
      case 'filter':
      case 'filterNot':
        return [this.add(what, id, { pred: this.predicate(kind), store: this.store(0.4) }), type, kind, long]
      case 'mapValues': {
        const fn = this.value(kind)
        return [this.add(what, id, { fn, store: this.store(0.4) }), type, kindAfter(fn, kind), long]
      }
      case 'transformValues':
        return this.transformValues(made)
      case 'group':
        return this.tableGroup(made)
      case 'roundtrip':
        return [
          this.add('toTable', this.add('toStream', id), { store: this.store(0.6) }),
          'table',
          kind,
          long,
        ]
      default:
        return this.suppress(made)
    }
  }

  transformValues([id, type, kind, long]: Made): Made {
    const fn = this.value(kind)
    if (type === 'windowed' || this.chance(0.6)) {
      const made = this.add('transformValues', id, { transformer: ['map', fn], store: this.store(0.5) })
      return [made, type, kindAfter(fn, kind), long]
    }
    const state = `state${this.ops.length}`
    const made = this.add('transformValues', id, { transformer: ['counting'], state, store: this.store(1) })
    return [made, type, 'obj', long]
  }

  tableGroup([id, , kind, long]: Made): Made {
    const value = this.one<Fn>(['identity'], this.value(kind))
    const group = this.add('groupBy', id, { key: this.key(kind), value })
    const store = this.store()
    if (this.chance(0.2)) return [this.add('count', group, { store }), 'table', 'int', long]
    if (this.chance(0.3)) {
      const numbers = long || this.chance(0.3)
      const fn: Fn = numbers ? ['sum'] : ['concat', '+']
      const subtractor: Fn = numbers ? [this.one('sub', 'subOrNull')] : ['concat', '-']
      return [this.add('reduce', group, { fn, subtractor, store }), 'table', 'word', long || !numbers]
    }
    const short: (readonly [Json, Fn, Fn])[] = [
      [0, ['sum'], ['sub']],
      [0, ['count'], ['uncount']],
      [null, ['count'], ['uncountOrNull']],
    ]
    const texts: (readonly [Json, Fn, Fn])[] = [
      ['', ['concat', '+'], ['concat', '-']],
      [[], ['collect'], ['uncollect']],
    ]
    const grows = !long && this.chance(0.6)
    const [init, agg, subtractor] = this.of(grows ? texts : short)
    return [this.add('aggregate', group, { agg, subtractor, store, init }), 'table', 'word', long || grows]
  }

  suppress([id, type, kind, long]: Made): Made {
    if (type === 'windowed' && this.chance(0.6)) {
      return [this.add('suppress', id, { mode: 'untilWindowCloses' }), type, kind, long]
    }
    const limit = this.chance(0.4) ? { maxRecords: this.between(1, 4), onFull: 'emitEarly' } : {}
    const ms = this.time(this.one(0, 5, 10, 20, 50))
    return [this.add('suppress', id, { mode: 'untilTimeLimit', ms, ...limit }), type, kind, long]
  }

  toStream([id, type, kind, long]: Made): Made {
    const key = type === 'table' ? undefined : this.one<Fn>(['windowStr'], ['windowKey'])
    return [this.add('toStream', id, { key }), 'stream', kind, long]
  }

  // ------------------------------------------------------------------------------------------- joins

  joinStreams(one: Made, other: Made): Made {
    const before = this.one(0, 2, 5, 10, 15)
    const after = this.chance(0.5) ? before : this.one(0, 3, 8, 20)
    const long = one[3] || other[3]
    const grace = this.time(this.one(0, 0, 2, 5, 10, 30))
    const window = { before: this.time(before), after: this.time(after), grace }
    const id = this.add('join', [one[0], other[0]], {
      kind: this.one('inner', 'left', 'outer'),
      joiner: this.joiner(long),
      window,
    })
    return [id, 'stream', 'word', long]
  }

  joinTable(stream: Made, table: Made, grace?: number): Made {
    const long = stream[3] || table[3]
    const id = this.add('join', [stream[0], table[0]], {
      kind: this.one('inner', 'left'),
      joiner: this.joiner(long),
      grace,
    })
    return [id, 'stream', 'word', long]
  }

  joinTables(one: Made, other: Made): Made {
    const long = one[3] || other[3]
    const id = this.add('join', [one[0], other[0]], {
      kind: this.one('inner', 'left', 'outer'),
      joiner: this.joiner(long),
      store: this.store(0.5),
    })
    return [id, one[1], 'word', long]
  }

  // ------------------------------------------------------------------------------------------- inputs

  valueOf(kind: Kind): Json {
    if (this.chance(0.09)) return null
    switch (kind) {
      case 'int':
        return this.between(-4, 12)
      case 'obj': {
        const group = this.chance(0.92) ? { g: this.one('x', 'y', 'z') } : {}
        return { ...group, n: this.between(0, 12) }
      }
      case 'left': {
        const foreign = this.chance(0.9) ? { fk: this.of(this.keys) } : {}
        return { ...foreign, n: this.between(0, 9) }
      }
      case 'right':
        return `R${this.between(0, 9)}`
      default:
        return this.of(words)
    }
  }

  draw(): CaseInput[] {
    const inputs: CaseInput[] = []
    const count = this.between(...this.inputs)
    const mode = this.one('jitter', 'jitter', 'random', 'jumps')
    const names = [...this.topics.keys()]
    const withHeaders = this.chance(0.12)
    let now = 0
    for (let index = 0; index < count; index++) {
      if (this.wall && this.chance(0.15)) {
        inputs.push({ advanceWallClockMs: this.time(this.one(1, 5, 10, 10, 30)) })
        continue
      }
      const topic = this.of(names)
      const kind = this.topics.get(topic) as Kind
      now +=
        mode === 'jumps'
          ? this.one(0, 0, 0, 1, 2, 2, this.chance(0.3) ? 40 : 4)
          : this.one(0, 0, 1, 1, 2, 3, 5)
      let at = now
      if (mode === 'random') at = this.between(0, this.#span)
      else if (this.chance(0.3)) at = Math.max(0, now - this.one(1, 2, 3, 5, 8, 15, 30))
      const jitter = this.unit > 1 && this.chance(0.2) ? this.between(0, 2) : 0
      let key = this.chance(0.04) ? null : this.of(this.keys)
      if (kind === 'left' && key !== null) key = `l${key}`
      if (kind === 'right' && this.chance(0.1)) key = `${key ?? 'a'}a`
      const record: CaseRecordInput = {
        topic,
        key,
        value: this.valueOf(kind),
        timestamp: this.#base + at * this.unit + jitter,
        ...(withHeaders && this.chance(0.4) ? { headers: [[`h${this.between(1, 2)}`, `v${index}`]] } : {}),
      }
      inputs.push(record)
    }
    return this.config['cacheMaxBytes'] === undefined ? inputs : this.batches(inputs)
  }

  /** Several records between two commits: what caches are for. */
  batches(inputs: readonly CaseInput[]): CaseInput[] {
    const batches: CaseInput[] = []
    for (let at = 0; at < inputs.length; ) {
      const size = this.between(1, 6)
      const records = inputs
        .slice(at, at + size)
        .filter((input): input is CaseRecordInput => 'topic' in input)
      at += size
      if (records.length > 0) batches.push({ batch: records })
    }
    return batches
  }
}

function kindAfter(fn: Fn, kind: Kind): Kind {
  switch (fn[0]) {
    case 'identity':
    case 'nullIf':
      return kind
    case 'add':
    case 'mul':
    case 'length':
      return 'int'
    case 'setField':
    case 'wrap':
      return 'obj'
    case 'field':
      return fn[1] === 'n' ? 'int' : 'word'
    default:
      return 'word'
  }
}

/** Sends what nothing else reads. */
function sinkRest(draft: Draft, pool: readonly Made[]): void {
  const used = new Set(draft.ops.flatMap(({ from }) => (Array.isArray(from) ? from : [from])))
  for (const made of pool) if (!used.has(made[0])) draft.sink(made)
}

type Family = readonly [name: string, share: number, make: (draft: Draft) => void]

const families: readonly Family[] = [
  [
    'stateless',
    25,
    (draft) => {
      const pool: Made[] = [draft.stream()]
      for (let left = draft.between(3, 7); left > 0; left--) {
        const from = draft.of(pool)
        if (draft.chance(0.15) && pool.length > 1) {
          pool.push([draft.add('merge', [from[0], draft.of(pool)[0]]), 'stream', 'word', false])
        } else if (draft.chance(0.15)) {
          const name = `b${draft.ops.length}`
          const branches = [
            { id: `${name}a`, pred: draft.predicate(from[2]) },
            { id: `${name}b`, pred: draft.predicate(from[2]) },
          ]
          draft.add('split', from[0], { branches, default: `${name}c` })
          for (const end of ['a', 'b', 'c']) pool.push([`${name}${end}`, 'stream', from[2], false])
        } else pool.push(draft.stateless(from))
      }
      sinkRest(draft, pool)
    },
  ],
  [
    'aggregate',
    35,
    (draft) => {
      const table = draft.streamAggregate(draft.maybe(draft.stream()))
      draft.sink(draft.chance(0.6) ? draft.tableOperation(table) : table)
    },
  ],
  ['window-time', 45, (draft) => windows(draft, ['tumbling', 'hopping'])],
  ['window-sliding', 30, (draft) => windows(draft, ['sliding'])],
  ['window-session', 35, (draft) => windows(draft, ['session'])],
  [
    'emit-on-close',
    30,
    (draft) =>
      draft.sink(draft.windowAggregate(draft.maybe(draft.stream(), 0.25, 1), undefined, 'onWindowClose')),
  ],
  [
    'suppress',
    35,
    (draft) => {
      const from = draft.maybe(draft.stream(), 0.25, 1)
      let table = draft.chance(0.5)
        ? draft.windowAggregate(from)
        : draft.chance(0.5)
          ? draft.streamAggregate(from)
          : draft.table()
      table = draft.suppress(table)
      if (table[1] === 'table' && draft.chance(0.3)) table = draft.tableGroup(table)
      draft.sink(table)
    },
  ],
  [
    'stream-stream-join',
    60,
    (draft) => {
      const one = draft.maybe(draft.stream(), 0.3, 1)
      const other = draft.chance(0.92) ? draft.maybe(draft.stream(), 0.3, 1) : one
      let joined = draft.joinStreams(one, other)
      if (draft.chance(0.15)) joined = draft.joinStreams(joined, draft.stream())
      if (draft.chance(0.2)) joined = draft.streamAggregate([joined[0], joined[1], joined[2], true])
      draft.sink(joined)
    },
  ],
  ['stream-table-join', 45, streamTable],
  [
    'global-join',
    12,
    (draft) => {
      const stream = draft.maybe(draft.stream(), 0.4, 1)
      const topic = draft.topic(draft.of(kinds))
      draft.globals.add(topic)
      const global = draft.add('globalTable', undefined, { topic, store: draft.store() })
      const id = draft.add('join', [stream[0], global], {
        kind: draft.one('inner', 'left'),
        joiner: draft.joiner(false),
        globalKey: draft.one<Fn>(['key'], ['key'], ['prefix', 1], draft.key(stream[2])),
      })
      draft.sink([id, 'stream', 'word', false])
    },
  ],
  [
    'table-table-join',
    40,
    (draft) => {
      const versioned = draft.one(0, 0, 0, 1)
      let one = draft.table(undefined, versioned)
      let other = draft.table(undefined, versioned)
      if (versioned === 0 && draft.chance(0.3)) one = draft.tableOperation(one)
      if (versioned === 0 && draft.chance(0.3)) other = draft.tableOperation(other)
      let joined = draft.joinTables(one, other)
      if (draft.chance(0.2)) joined = draft.joinTables(joined, draft.table())
      if (draft.chance(0.3)) joined = draft.tableGroup(joined)
      draft.sink(joined)
    },
  ],
  [
    'foreign-key-join',
    40,
    (draft) => {
      let [left] = draft.table('left')
      let [right] = draft.table('right')
      if (draft.chance(0.2)) {
        left = draft.add('filter', left, { pred: ['fieldGt', 'n', 2], store: draft.store(0.5) })
      }
      if (draft.chance(0.2)) {
        right = draft.add('mapValues', right, { fn: ['append', '!'], store: draft.store(0.5) })
      }
      const id = draft.add('fkJoin', [left, right], {
        kind: draft.one('inner', 'left'),
        fk: ['field', 'fk'],
        joiner: draft.one<Fn>(['concat'], ['concat'], ['obj'], ['nullIfRightNull']),
        store: draft.store(0.5),
      })
      const joined: Made = [id, 'table', 'word', false]
      draft.sink(draft.chance(0.2) ? draft.tableGroup(joined) : joined)
    },
  ],
  [
    'cogroup',
    25,
    (draft) => {
      const streams = Array.from({ length: draft.between(2, 3) }, () => draft.maybe(draft.stream(), 0.2, 1))
      const groups = streams.map((stream, index) => draft.group(stream, `grp${index}`))
      const aggs = groups.map((_, index) => ['concat', '+*-'[index] as string])
      let from = draft.add('cogroup', groups, { aggs })
      const window = draft.chance(0.75) ? draft.window() : null
      if (window !== null) from = draft.add('windowedBy', from, { window })
      const merger = window?.['type'] === 'session' ? ['concat', '&'] : undefined
      const retention = draft.variant === 'cache' && window !== null ? draft.time(100_000) : undefined
      const id = draft.add('aggregate', from, { init: '.', store: draft.store(), merger, retention })
      draft.sink([id, window === null ? 'table' : 'windowed', 'word', true])
    },
  ],
  [
    'table',
    40,
    (draft) => {
      let table = draft.table()
      for (let left = draft.between(1, 3); left > 0; left--) table = draft.tableOperation(table)
      draft.sink(table)
    },
  ],
  ['processor', 35, processors],
  ['mixed', 60, mixed],
]

function windows(draft: Draft, list: readonly string[]): void {
  const table = draft.windowAggregate(draft.maybe(draft.stream(), 0.3), list)
  draft.sink(draft.chance(0.3) ? draft.tableOperation(table) : table)
}

function streamTable(draft: Draft): void {
  const stream = draft.maybe(draft.stream(), 0.3, 1)
  if (!draft.chance(0.35)) {
    let table = draft.chance(0.3) ? draft.streamAggregate(draft.stream()) : draft.table()
    if (draft.chance(0.3)) table = draft.tableOperation(table)
    draft.sink(draft.joinTable(stream, table))
    return
  }
  const kind = draft.of(kinds)
  const historyRetention = draft.time(draft.one(30, 100, 1000))
  const table = draft.add('table', undefined, {
    topic: draft.topic(kind),
    store: draft.store(1),
    historyRetention,
  })
  const made: Made = [table, 'table', kind, false]
  if (!draft.chance(0.6)) {
    draft.sink(draft.joinTable(stream, made))
    return
  }
  // A record without a key would break a left join that waits, there.
  const keyed = draft.add('filterNot', stream[0], { pred: ['keyIsNull'] })
  const grace = draft.time(draft.one(0, 5, 10, 30))
  draft.sink(draft.joinTable([keyed, 'stream', stream[2], stream[3]], made, grace))
}

function processors(draft: Draft): void {
  draft.wall = true
  const processor = draft.one<Fn>(
    ['countAndPunctuate', draft.time(10), 'stream'],
    ['countAndPunctuate', draft.time(10), 'wall'],
    ['countAndFlush', draft.time(20), 'stream'],
    ['countAndFlush', draft.time(10), 'wall'],
    ['ttlExpire', draft.time(15), draft.time(5)],
    ['delay', draft.time(10)],
    ['fanout', 2],
    ['restamp', draft.time(-7)],
    ['restamp', draft.time(6)],
    ['swap'],
    ['ticks', draft.time(10), 'stream', 50],
    ['addHeader', 'hh'],
  )
  const stored = ['countAndPunctuate', 'countAndFlush', 'ttlExpire'].includes(processor[0] as string)
  const from = draft.maybe(draft.stream(), 0.3, 1)
  const id = draft.add('process', from[0], { processor, store: stored ? draft.store(1) : undefined })
  let made: Made = [id, 'stream', processor[0] === 'ticks' ? 'word' : from[2], false]
  if (draft.chance(0.35)) made = draft.streamAggregate(made)
  else if (draft.chance(0.3)) made = draft.windowAggregate(made)
  draft.sink(made)
}

function mixed(draft: Draft): void {
  draft.inputs = [20, 45]
  const pool: Made[] = [draft.stream(), draft.stream(), draft.table()]
  const some = (...types: Made[1][]): Made[] => pool.filter(([, type]) => types.includes(type))
  for (let left = draft.between(4, 9); left > 0; left--) {
    const streams = some('stream')
    const tables = some('table')
    const all = some('table', 'windowed')
    const what = draft.one(
      'stateless',
      'stateless',
      'agg',
      'window',
      'table',
      'ss',
      'st',
      'tt',
      'toStream',
      'merge',
      'toTable',
    )
    if (what === 'stateless') pool.push(draft.stateless(draft.of(streams)))
    else if (what === 'agg') pool.push(draft.streamAggregate(draft.of(streams)))
    else if (what === 'window') pool.push(draft.windowAggregate(draft.of(streams)))
    else if (what === 'table') pool.push(draft.tableOperation(draft.of(all)))
    else if (what === 'ss') pool.push(draft.joinStreams(draft.of(streams), draft.of(streams)))
    else if (what === 'st') pool.push(draft.joinTable(draft.of(streams), draft.of(tables)))
    else if (what === 'tt') pool.push(draft.joinTables(draft.of(tables), draft.of(tables)))
    else if (what === 'toStream') pool.push(draft.toStream(draft.of(all)))
    else if (what === 'merge') {
      const [one, other] = [draft.of(streams), draft.of(streams)]
      pool.push([draft.add('merge', [one[0], other[0]]), 'stream', 'word', one[3] || other[3]])
    } else {
      const from = draft.of(streams)
      pool.push([draft.add('toTable', from[0], { store: draft.store(0.7) }), 'table', from[2], from[3]])
    }
  }
  sinkRest(draft, pool)
}

/** `count` cases of a seed, spread over the families. */
export function randomCases(seed: number, count: number): Case[] {
  const total = families.reduce((sum, [, share]) => sum + share, 0)
  const cases: Case[] = []
  for (const [name, share, make] of families) {
    const size = Math.max(1, Math.round((count * share) / total))
    for (let index = 0; index < size; index++) cases.push(randomCase(`${seed}/${name}/${index}`, name, make))
  }
  return cases
}

function randomCase(seed: string, family: string, make: (draft: Draft) => void): Case {
  const draft = new Draft(seed)
  make(draft)
  const { variant } = draft
  if (variant === 'keys') draft.config['keys'] = 'binary'
  if (variant === 'cache' && !draft.wall) draft.config['cacheMaxBytes'] = 10_000_000
  if (variant === 'partitions' && canSplit(draft)) draft.config['partitions'] = draft.between(2, 4)
  const [number, , index] = seed.split('/')
  return {
    name: `random-${family}/s${number}-${index?.padStart(3, '0')}-${variant}`,
    category: `random-${family}`,
    ...(Object.keys(draft.config).length === 0 ? {} : { config: draft.config }),
    ops: draft.ops,
    inputs: draft.draw(),
  }
}

/**
 * Only topologies whose records stay in their partition: then a run with several partitions is, there, one run for each.
 * Sinks behind a new key may go anywhere, so they do not count either.
 */
function canSplit(draft: Draft): boolean {
  if (draft.wall || draft.globals.size > 0) return false
  return draft.ops.every(
    (op) =>
      !['map', 'flatMap', 'selectKey', 'groupBy', 'repartition', 'fkJoin', 'process'].includes(op.op) &&
      !(op.op === 'toStream' && op['key'] !== undefined),
  )
}
