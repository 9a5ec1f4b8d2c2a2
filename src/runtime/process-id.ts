/**
 * The id of this process, kept in the state folder: after a restart it is the same, so its transactional ids are, and
 * whatever it left open is fenced by its own first request. A second copy on the same folder gets an id of its own.
 *
 * `<stateDir>/<application>/process-id` holds the id; `process-id.lock` the pid of the process that goes by it; `member-id`
 * the group's member that it is. A member whose process is gone without a word still has its tasks until its session
 * times out: who finds its id here takes it out of the group first.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export type ProcessId = {
  readonly id: string
  /** The member that the process before this one was; null where there was none. */
  readonly lastMember: string | null
  /** Who this process is in the group. */
  remember(memberId: string): Promise<void>
  release(): Promise<void>
}

export async function openProcessId(stateDir: string, applicationId: string): Promise<ProcessId> {
  const folder = join(stateDir, applicationId)
  await mkdir(folder, { recursive: true })
  const lock = join(folder, 'process-id.lock')
  if (!(await takeLock(lock))) {
    return { id: randomUUID(), lastMember: null, remember: async () => {}, release: async () => {} }
  }
  const file = join(folder, 'process-id')
  let id = (await readFile(file, 'utf8').catch(() => '')).trim()
  if (!/^[0-9a-f-]{36}$/.test(id)) {
    id = randomUUID()
    await writeFile(`${file}.new`, `${id}\n`)
    await rename(`${file}.new`, file)
  }
  held.add(lock)
  const member = join(folder, 'member-id')
  const lastMember = (await readFile(member, 'utf8').catch(() => '')).trim()
  let remembered = ''
  let writing = Promise.resolve()
  return {
    id,
    lastMember: lastMember === '' ? null : lastMember,
    remember: (memberId) => {
      if (memberId === remembered) return writing
      remembered = memberId
      writing = writing.catch(() => undefined).then(() => writeFile(member, `${memberId}\n`))
      return writing
    },
    release: async () => {
      held.delete(lock)
      await rm(lock, { force: true })
    },
  }
}

/** Of this process: its own pid in a lock says nothing about which of its applications holds it. */
const held = new Set<string>()

async function takeLock(lock: string): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const file = await open(lock, 'wx')
      await file.writeFile(String(process.pid))
      await file.close()
      return true
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error
    }
    const pid = Number(await readFile(lock, 'utf8').catch(() => ''))
    if (pid === process.pid ? held.has(lock) : pid > 0 && isAlive(pid)) return false
    // Its owner is gone. Two that see this at once: one removes, one creates, `wx` decides.
    await rm(lock, { force: true })
  }
  return false
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM'
  }
}
