/**
 * What members of the group tell each other through Kafka: each member of itself when it joins (subscription), the
 * leader to each member when it has decided (assignment). Both ride in the consumer protocol's user data, under a
 * protocol name of our own: a Kafka Streams member under the same application id is refused by the broker.
 *
 * Form: version, oldest version that can read it (one byte each), then the fields below in order. A reader skips what a
 * newer version appended and refuses what says that it can't be read. Counts and lengths are checked before they are
 * believed: hostile bytes give GROUP_DATA_MALFORMED, in time and memory of the order of their length.
 *
 * Kafka keeps the user data of all members in one record (1 MB by default), so it is small: numbers are variable-length,
 * tasks are written as runs of partitions, transactional ids share their prefixes.
 */
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { ByteReader } from '../wire/byte-reader.ts'
import { compareTaskIds, formatTaskId, parseTaskId } from './task-id.ts'

export const protocolName = 'millrace'

/** The task runs here as the active one, restored: nothing is behind. */
export const runningLag = -1
/** There is state of the task, but how far it is behind is not known. */
export const unknownLag = -2

export type Subscription = {
  /** Kept in the state folder: the same after a restart. */
  readonly processId: string
  /** Stream threads. */
  readonly capacity: number
  /** Of what decides about tasks and topics; members with another one can't share tasks. */
  readonly topologyHash: string
  readonly applicationVersion: string
  readonly libraryVersion: string
  /** Of its stream threads: whoever takes over from it fences them. */
  readonly transactionalIds: readonly string[]
  /**
   * Every task that it has state of, or runs: the records by which its state is behind the changelogs, summed, or
   * `runningLag`, or `unknownLag`. Stateless tasks are there as `runningLag` while they run.
   */
  readonly lags: ReadonlyMap<string, number>
  /** As it was last assigned: what it keeps up to date for others. */
  readonly standby: readonly string[]
  readonly warmup: readonly string[]
  readonly tags: ReadonlyMap<string, string>
  /** Where its HTTP server answers; null if it has none. */
  readonly endpoint: string | null
  /** How long it would need, at its present speed, for the input that waits. */
  readonly behindMs: number
  /** Records processed per second of busy time and thread; 0: not known. */
  readonly speed: number
  /** The share of its capacity that it was last assigned by, from its assignment, or asks for; 1 at first. */
  readonly share: number
  /** The whole application shall stop. */
  readonly shutdown: boolean
  /** From its last assignment: who was in the group, should its leader be gone by now. */
  readonly roster: readonly RosterEntry[]
  /** It is about to stop: its tasks go to others, and when it has given them up it leaves. */
  readonly leaving: boolean
}

/** A member as the one before knew it: its transactional ids and active tasks. */
export type RosterEntry = {
  readonly memberId: string
  readonly transactionalIds: readonly string[]
  readonly tasks: readonly string[]
}

/** For queries: where a task is. */
export type Peer = {
  readonly endpoint: string
  readonly active: readonly string[]
  readonly standby: readonly string[]
}

/** 'shutdown': stop, all of you. 'idle': another topology holds the group; wait. 'failed': see the message. */
export type Directive = 'run' | 'idle' | 'shutdown' | 'failed'

export type Assignment = {
  readonly directive: Directive
  /** An error's code and what it says, for 'failed'; why, for 'idle'; else empty. */
  readonly code: string
  readonly message: string
  readonly active: readonly string[]
  readonly standby: readonly string[]
  readonly warmup: readonly string[]
  /** Of members that are gone: before its new tasks start, their producers are fenced. */
  readonly fence: readonly string[]
  /** Stores that moved: the changelog that each of them has from before. */
  readonly changelogs: ReadonlyMap<string, string>
  readonly share: number
  /** Not yet everything is where it should be: join again when a warm-up has caught up, or after the probing interval. */
  readonly probing: boolean
  /** All members that have an endpoint. null: too many to tell everyone; ask `leaderEndpoint`. */
  readonly peers: readonly Peer[] | null
  readonly leaderEndpoint: string | null
  /** To be given back in the next subscription. Only some members get it. */
  readonly roster: readonly RosterEntry[]
  /** Some member gives tasks up first: everyone joins again at once, and the next round begins when it has. */
  readonly revoking: boolean
}

const version = 2
/** What came since is appended. */
const oldestReader = 1
const textBytesMax = 4096
const messageCharsMax = 1000
const directives = ['run', 'idle', 'shutdown', 'failed'] as const
const lagMax = 0x7fff_fff0
const peersBytesMax = 300_000
const rosterBytesMax = 100_000

// ------------------------------------------------------------------------------------------------ subscription

export function encodeSubscription(subscription: Subscription): Buffer {
  const to = new ByteWriter(512)
  to.int8(version)
  to.int8(oldestReader)
  writeText(to, subscription.processId)
  to.uvarint(subscription.capacity)
  writeText(to, subscription.topologyHash)
  writeText(to, subscription.applicationVersion)
  writeText(to, subscription.libraryVersion)
  writeTexts(to, subscription.transactionalIds)
  writeLags(to, subscription.lags)
  writeTasks(to, subscription.standby)
  writeTasks(to, subscription.warmup)
  to.uvarint(subscription.tags.size)
  for (const [name, value] of subscription.tags) {
    writeText(to, name)
    writeText(to, value)
  }
  writeText(to, subscription.endpoint ?? '')
  to.uvarint(clamp(subscription.behindMs))
  to.uvarint(clamp(subscription.speed))
  to.float64(subscription.share)
  to.int8(subscription.shutdown ? 1 : 0)
  writeRoster(to, subscription.roster)
  to.int8(subscription.leaving ? 1 : 0)
  return to.copy()
}

export function decodeSubscription(bytes: Buffer): Subscription {
  return reading('subscription', bytes, (from, written) => {
    const processId = readText(from)
    const capacity = Math.max(1, from.uvarint())
    const topologyHash = readText(from)
    const applicationVersion = readText(from)
    const libraryVersion = readText(from)
    const transactionalIds = readTexts(from)
    const lags = readLags(from)
    const standby = readTasks(from)
    const warmup = readTasks(from)
    const tags = new Map<string, string>()
    for (let count = readCount(from, 2); count > 0; count--) tags.set(readText(from), readText(from))
    const endpoint = readText(from)
    return {
      processId,
      capacity,
      topologyHash,
      applicationVersion,
      libraryVersion,
      transactionalIds,
      lags,
      standby,
      warmup,
      tags,
      endpoint: endpoint === '' ? null : endpoint,
      behindMs: from.uvarint(),
      speed: from.uvarint(),
      share: readShare(from),
      shutdown: from.int8() !== 0,
      roster: readRoster(from),
      leaving: written >= 2 && from.int8() !== 0,
    }
  })
}

// ------------------------------------------------------------------------------------------------ assignment

export function encodeAssignment(assignment: Assignment): Buffer {
  const to = new ByteWriter(512)
  to.int8(version)
  to.int8(oldestReader)
  to.int8(directives.indexOf(assignment.directive))
  writeText(to, assignment.code)
  writeText(to, assignment.message.slice(0, messageCharsMax))
  writeTasks(to, assignment.active)
  writeTasks(to, assignment.standby)
  writeTasks(to, assignment.warmup)
  writeTexts(to, assignment.fence)
  to.uvarint(assignment.changelogs.size)
  for (const [store, topic] of assignment.changelogs) {
    writeText(to, store)
    writeText(to, topic)
  }
  to.float64(assignment.share)
  to.int8(assignment.probing ? 1 : 0)
  writeText(to, assignment.leaderEndpoint ?? '')
  writePeers(to, assignment.peers)
  writeRoster(to, assignment.roster)
  to.int8(assignment.revoking ? 1 : 0)
  return to.copy()
}

export function decodeAssignment(bytes: Buffer): Assignment {
  return reading('assignment', bytes, (from, written) => {
    const directive = directives[from.int8()]
    if (directive === undefined) throw wrong('it says to do something unknown')
    const code = readText(from)
    const message = readText(from)
    const active = readTasks(from)
    const standby = readTasks(from)
    const warmup = readTasks(from)
    const fence = readTexts(from)
    const changelogs = new Map<string, string>()
    for (let count = readCount(from, 2); count > 0; count--) changelogs.set(readText(from), readText(from))
    const share = readShare(from)
    const probing = from.int8() !== 0
    const leaderEndpoint = readText(from)
    const peers = readPeers(from)
    return {
      directive,
      code,
      message,
      active,
      standby,
      warmup,
      fence,
      changelogs,
      share,
      probing,
      peers,
      leaderEndpoint: leaderEndpoint === '' ? null : leaderEndpoint,
      roster: readRoster(from),
      revoking: written >= 2 && from.int8() !== 0,
    }
  })
}

/**
 * Who is told how much of the whole group. Kafka keeps all assignments in one record: the map for queries goes to
 * everyone while it fits, else to nobody, and the leader's endpoint answers. The roster, for whoever leads next, goes
 * to as many as fit, at least to two, so that one may be gone.
 */
export function shareOut(
  peers: readonly Peer[],
  roster: readonly RosterEntry[],
  memberIds: readonly string[],
): (memberId: string) => { readonly peers: readonly Peer[] | null; readonly roster: readonly RosterEntry[] } {
  const to = new ByteWriter()
  writePeers(to, peers)
  const told = to.position * memberIds.length <= peersBytesMax ? peers : null
  to.reset()
  writeRoster(to, roster)
  const heirs = new Set(memberIds.slice(0, Math.max(2, Math.floor(rosterBytesMax / to.position))))
  return (memberId) => ({ peers: told, roster: heirs.has(memberId) ? roster : [] })
}

// ------------------------------------------------------------------------------------------------ fields

function writeText(to: ByteWriter, text: string): void {
  const bytes = Buffer.from(text)
  if (bytes.length > textBytesMax) {
    throw new StreamsError(
      'CONFIG_INVALID',
      `${JSON.stringify(text.slice(0, 60))}… has ${bytes.length} bytes; what the group is told may have ${textBytesMax}: ` +
        'shorten the application id, tag or endpoint it comes from',
    )
  }
  to.uvarint(bytes.length)
  to.bytes(bytes)
}

function readText(from: ByteReader): string {
  const length = from.uvarint()
  if (length > textBytesMax) throw wrong(`a text of ${length} bytes is longer than ${textBytesMax}`)
  return from.utf8(length)
}

/** Each as the bytes it shares with the one before, and the rest. */
function writeTexts(to: ByteWriter, texts: readonly string[]): void {
  to.uvarint(texts.length)
  let before = ''
  for (const text of texts) {
    let shared = 0
    while (shared < text.length && shared < before.length && text[shared] === before[shared]) shared++
    // A pair of surrogates is one character: it is shared whole or not at all.
    if (shared > 0 && isHighSurrogate(text.charCodeAt(shared - 1))) shared--
    to.uvarint(shared)
    writeText(to, text.slice(shared))
    before = text
  }
}

function readTexts(from: ByteReader): string[] {
  const texts: string[] = []
  let before = ''
  for (let count = readCount(from, 2); count > 0; count--) {
    const shared = from.uvarint()
    if (shared > before.length) throw wrong(`a text shares ${shared} characters with one of ${before.length}`)
    const text = before.slice(0, shared) + readText(from)
    if (text.length > textBytesMax)
      throw wrong(`a text of ${text.length} characters is longer than ${textBytesMax}`)
    texts.push(text)
    before = text
  }
  return texts
}

/** Per sub-topology: its index, how many, and each partition as the distance from the one before. */
function writeTasks(to: ByteWriter, tasks: readonly string[]): void {
  writeGrouped(to, tasks, undefined)
}

function readTasks(from: ByteReader): string[] {
  const tasks: string[] = []
  readGrouped(from, (task) => tasks.push(task))
  return tasks
}

function writeLags(to: ByteWriter, lags: ReadonlyMap<string, number>): void {
  writeGrouped(to, [...lags.keys()], (task) => to.uvarint(Math.min(lags.get(task) as number, lagMax) + 2))
}

function readLags(from: ByteReader): Map<string, number> {
  const lags = new Map<string, number>()
  readGrouped(from, (task) => lags.set(task, from.uvarint() - 2))
  return lags
}

function writeGrouped(
  to: ByteWriter,
  tasks: readonly string[],
  after: ((task: string) => void) | undefined,
): void {
  const groups = new Map<number, number[]>()
  for (const task of [...tasks].sort(compareTaskIds)) {
    const { subtopology, partition } = parseTaskId(task)
    const group = groups.get(subtopology)
    if (group === undefined) groups.set(subtopology, [partition])
    else group.push(partition)
  }
  to.uvarint(groups.size)
  for (const [subtopology, partitions] of groups) {
    to.uvarint(subtopology)
    to.uvarint(partitions.length)
    let before = 0
    for (const partition of partitions) {
      to.uvarint(partition - before)
      before = partition
      after?.(formatTaskId(subtopology, partition))
    }
  }
}

function readGrouped(from: ByteReader, take: (task: string) => void): void {
  for (let groups = readCount(from, 3); groups > 0; groups--) {
    const subtopology = from.uvarint()
    let partition = 0
    for (let count = readCount(from, 1); count > 0; count--) {
      partition += from.uvarint()
      if (partition > 0x7fff_ffff) throw wrong(`partition ${partition} is out of range`)
      take(formatTaskId(subtopology, partition))
    }
  }
}

function writePeers(to: ByteWriter, peers: readonly Peer[] | null): void {
  to.int8(peers === null ? 0 : 1)
  if (peers === null) return
  to.uvarint(peers.length)
  for (const peer of peers) {
    writeText(to, peer.endpoint)
    writeTasks(to, peer.active)
    writeTasks(to, peer.standby)
  }
}

function readPeers(from: ByteReader): Peer[] | null {
  if (from.int8() === 0) return null
  const peers: Peer[] = []
  for (let count = readCount(from, 3); count > 0; count--) {
    peers.push({ endpoint: readText(from), active: readTasks(from), standby: readTasks(from) })
  }
  return peers
}

function writeRoster(to: ByteWriter, roster: readonly RosterEntry[]): void {
  to.uvarint(roster.length)
  for (const entry of roster) {
    writeText(to, entry.memberId)
    writeTexts(to, entry.transactionalIds)
    writeTasks(to, entry.tasks)
  }
}

function readRoster(from: ByteReader): RosterEntry[] {
  const roster: RosterEntry[] = []
  for (let count = readCount(from, 3); count > 0; count--) {
    roster.push({ memberId: readText(from), transactionalIds: readTexts(from), tasks: readTasks(from) })
  }
  return roster
}

function readShare(from: ByteReader): number {
  const share = from.float64()
  if (!(share > 0 && share <= 1)) throw wrong(`a share of ${share} is not above 0 and at most 1`)
  return share
}

/** A count of things that take at least so many bytes each. */
function readCount(from: ByteReader, bytesMin: number): number {
  const count = from.uvarint()
  if (count > from.remaining / bytesMin)
    throw wrong(`${count} entries are due and ${from.remaining} bytes are left`)
  return count
}

function clamp(value: number): number {
  return Math.max(0, Math.min(Math.round(value), lagMax))
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00
}

// ------------------------------------------------------------------------------------------------ errors

function wrong(message: string): StreamsError {
  return new StreamsError('GROUP_DATA_MALFORMED', message)
}

function reading<T>(what: string, bytes: Buffer, read: (from: ByteReader, written: number) => T): T {
  const remedy = `every member of the group must be this application, started with millrace`
  const from = new ByteReader(bytes)
  let written = 0
  let readableBy = 0
  try {
    written = from.int8()
    readableBy = from.int8()
    if (written < 1 || readableBy < 1 || readableBy > written)
      throw wrong(`it begins with ${written}, ${readableBy}`)
    if (readableBy <= version) return read(from, written)
  } catch (cause) {
    const detail = cause instanceof StreamsError ? cause.message : String(cause)
    throw new StreamsError(
      'GROUP_DATA_MALFORMED',
      `a member's ${what} can not be read: ${detail}; ${remedy}`,
      { cause },
    )
  }
  throw new StreamsError(
    'GROUP_DATA_VERSION',
    `a member's ${what} has version ${written}, readable from version ${readableBy} on, and this member reads up to ` +
      `version ${version}; upgrade this one, or take the newer one back`,
  )
}
