/**
 * Tells of changes of source files in a folder and below it. node_modules, hidden folders, and those that are named as
 * not concerned are left out, and links are not followed.
 *
 * Linux watches one folder at a time, and how many may be watched is limited per user: so are they here.
 */
import { type FSWatcher, watch } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join, sep } from 'node:path'

export type SourceWatchOptions = {
  readonly folder: string
  /** Folders below it, in full. */
  readonly except?: readonly string[]
  readonly foldersMax?: number
  /** By default what this platform has. */
  readonly recursive?: boolean
  /** With the file, or with the folder that came with files in it. */
  readonly onChange: (path: string) => void
  /** Not all of it can be watched. */
  readonly onLimit: (message: string) => void
}

const source = /\.([mc]?[jt]s|json)$/
const foldersMaxUsual = 1_000

export class SourceWatch {
  readonly #options: SourceWatchOptions
  readonly #watchers = new Map<string, FSWatcher>()
  #limited = false
  #closed = false

  private constructor(options: SourceWatchOptions) {
    this.#options = options
  }

  /** Changes that happen after it has resolved are seen. */
  static async open(options: SourceWatchOptions): Promise<SourceWatch> {
    const opened = new SourceWatch(options)
    if (options.recursive ?? process.platform !== 'linux') opened.#watchWhole()
    else await opened.#watchTree(options.folder)
    return opened
  }

  close(): void {
    this.#closed = true
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  #watchWhole(): void {
    const { folder, onChange } = this.#options
    this.#watch(folder, true, (name) => {
      const parts = name.split(/[\\/]/)
      const isLeftOut = parts.some((_, index) => this.#isLeftOut(join(folder, ...parts.slice(0, index + 1))))
      if (source.test(name) && !isLeftOut) onChange(join(folder, name))
    })
  }

  /** A folder and those below it. Resolves with whether there are source files in any that was not watched before. */
  async #watchTree(root: string): Promise<boolean> {
    let hasNew = false
    const waiting = [root]
    for (let folder = waiting.shift(); folder !== undefined && !this.#closed; folder = waiting.shift()) {
      if (this.#watchers.has(folder)) continue
      if (this.#watchers.size >= (this.#options.foldersMax ?? foldersMaxUsual)) {
        this.#limit(`of ${this.#options.folder}, only ${this.#watchers.size} folders are watched for changes`)
        break
      }
      const here = folder
      // Watched before it is read: what is made in between is seen twice, and not never.
      if (!this.#watch(here, false, (name, event) => this.#onEvent(here, name, event))) continue
      const entries = await readdir(here, { withFileTypes: true }).catch(() => [])
      for (const entry of entries) {
        const path = join(here, entry.name)
        if (entry.isDirectory()) {
          if (!this.#isLeftOut(path)) waiting.push(path)
        } else if (source.test(entry.name)) hasNew = true
      }
    }
    return hasNew
  }

  #onEvent(folder: string, name: string, event: string): void {
    const path = join(folder, name)
    if (this.#isLeftOut(path)) return
    if (source.test(name)) this.#options.onChange(path)
    // It may be a folder that came, went, or took the place of one: then nobody watches what is there.
    else if (event === 'rename') void this.#look(path)
  }

  async #look(path: string): Promise<void> {
    for (const [folder, watcher] of this.#watchers) {
      if (folder !== path && !folder.startsWith(join(path, sep))) continue
      watcher.close()
      this.#watchers.delete(folder)
    }
    const isFolder = await lstat(path).then(
      (at) => at.isDirectory(),
      () => false,
    )
    if (isFolder && !this.#closed && (await this.#watchTree(path)) && !this.#closed)
      this.#options.onChange(path)
  }

  #watch(folder: string, recursive: boolean, onName: (name: string, event: string) => void): boolean {
    try {
      const watcher = watch(folder, { persistent: false, recursive }, (event, name) => {
        if (name !== null && !this.#closed) onName(name, event)
      })
      watcher.on('error', () => {
        watcher.close()
        if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder)
      })
      this.#watchers.set(folder, watcher)
      return true
    } catch (error) {
      // Gone again, or not ours to read.
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'EACCES' && code !== 'ENOTDIR')
        this.#limit(`changes below ${folder} are not seen: ${message}`)
      return false
    }
  }

  #isLeftOut(path: string): boolean {
    return /[\\/](node_modules|\.[^\\/]*)$/.test(path) || this.#options.except?.includes(path) === true
  }

  #limit(message: string): void {
    if (this.#limited) return
    this.#limited = true
    this.#options.onLimit(message)
  }
}
