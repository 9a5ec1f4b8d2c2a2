/** Another copy, over HTTP. Every call ends within its time. */
import { StreamsError } from '../base/errors.ts'
import type { TaskAnswer, TaskQuery } from '../runtime/state-query.ts'
import type { Network, StoreInfo, Whereabouts } from './router.ts'
import { readAnswer, readError, unreachable, writeQuery } from './wire.ts'

export type RemoteOptions = {
  /** Of the copies' HTTP services. */
  readonly token?: string | null
  /** Of finding the first copy that answers; default 5,000. */
  readonly connectTimeoutMs?: number
}

/** What /state tells of a copy. */
export type Described = {
  readonly application: string
  readonly stores: readonly StoreInfo[]
  readonly copies: readonly Copy[]
}

export type Copy = {
  /** null: it does not say where it answers. */
  readonly endpoint: string | null
  readonly active: readonly string[]
  readonly standby: readonly string[]
}

/** Longer than any answer: rows of 16 MB in base64, and what goes with them. */
const replyBytesMax = 67_108_864

async function get(endpoint: string, path: string, timeoutMs: number, token: string | null): Promise<string> {
  let response: Response
  let text: string
  try {
    response = await fetch(`http://${endpoint}${path}`, {
      signal: AbortSignal.timeout(Math.max(1, timeoutMs)),
      redirect: 'error',
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
    })
    text = await textOf(response)
  } catch (error) {
    const cause = (error as { cause?: unknown }).cause ?? error
    const isLate = (error as Error).name === 'TimeoutError'
    throw unreachable(endpoint, isLate ? `no answer in ${Math.round(timeoutMs)} ms` : String(cause), error)
  }
  if (!response.ok) throw readError(text, response.status, endpoint)
  return text
}

/** Whatever answers there may be no copy, and may never end. */
async function textOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > replyBytesMax) throw new Error(`its answer has more than ${replyBytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

export async function askRemote(
  endpoint: string,
  request: TaskQuery,
  timeoutMs: number,
  { token = null }: RemoteOptions,
): Promise<TaskAnswer> {
  const path = `/state/${encodeURIComponent(request.store)}?ask=${writeQuery(request)}`
  const text = await get(endpoint, path, timeoutMs, token)
  try {
    return readAnswer(text)
  } catch (cause) {
    throw unreachable(endpoint, 'it answered something else than rows', cause)
  }
}

export async function describeRemote(
  endpoint: string,
  timeoutMs: number,
  { token = null }: RemoteOptions,
): Promise<Described> {
  const text = await get(endpoint, '/state', timeoutMs, token)
  try {
    const described = JSON.parse(text) as Described
    if (Array.isArray(described.stores) && Array.isArray(described.copies)) return described
  } catch {
    // What it is, the error below says.
  }
  throw unreachable(endpoint, 'it is not a copy that answers queries')
}

export function findAmong(copies: readonly Copy[], task: string): Whereabouts {
  const active = copies.find((copy) => copy.endpoint !== null && copy.active.includes(task))
  const standbys = copies.filter((copy) => copy.endpoint !== null && copy.standby.includes(task))
  return { active: active ?? null, standbys }
}

const knownMs = 1_000
/** A copy that is silent for so long is not waited for alone: the next one is asked, too. */
const hedgeMs = 250

/** The copies of an application as a process sees them that is none of them: any of their addresses will do. */
export async function remoteNetwork(
  addresses: readonly string[],
  timeoutMs: number,
  options: RemoteOptions,
): Promise<Network> {
  let known: { readonly at: number; readonly described: Described } | null = null
  const describe = async (timeoutMs: number): Promise<Described> => {
    if (known !== null && Date.now() - known.at < knownMs) return known.described
    const others = known?.described.copies.flatMap(({ endpoint }) => endpoint ?? []) ?? []
    const all = [...new Set([...others, ...addresses])]
    if (all.length === 0) throw new StreamsError('CONFIG_INVALID', 'queries need the address of a copy')
    const described = await firstOf(all, (address) => describeRemote(address, timeoutMs, options))
    known = { at: Date.now(), described }
    return described
  }
  const { application } = await describe(timeoutMs)
  return {
    applicationId: application,
    stores: async (timeoutMs) => (await describe(timeoutMs)).stores,
    async find(task, timeoutMs) {
      const { copies } = await describe(timeoutMs)
      if (task !== 'global') return findAmong(copies, task)
      return {
        active: copies.find(({ endpoint }) => endpoint !== null) ?? { endpoint: addresses[0] ?? null },
        standbys: [],
      }
    },
    async ask({ endpoint }, request, timeoutMs) {
      try {
        return await askRemote(endpoint as string, request, timeoutMs, options)
      } catch (error) {
        // What was known is out of date.
        known = null
        throw error
      }
    },
  }
}

/** The first answer; the next address is asked where one has failed, or is silent. All failed: the first failure. */
function firstOf<T>(addresses: readonly string[], ask: (address: string) => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let next = 0
    let failed = 0
    let failure: unknown = null
    let timer: ReturnType<typeof setTimeout> | undefined
    const askNext = (): void => {
      clearTimeout(timer)
      const address = addresses[next++]
      if (address === undefined) return
      timer = setTimeout(askNext, hedgeMs)
      ask(address).then(
        (answer) => {
          clearTimeout(timer)
          next = addresses.length
          resolve(answer)
        },
        (error) => {
          failure ??= error
          if (++failed < addresses.length) return askNext()
          clearTimeout(timer)
          reject(failure)
        },
      )
    }
    askNext()
  })
}
