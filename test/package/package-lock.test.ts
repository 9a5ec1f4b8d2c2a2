/** package-lock.json: `npm ci` works on every platform, and names no registry. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

type Locked = {
  readonly version?: string
  readonly resolved?: string
  readonly optionalDependencies?: { readonly [name: string]: string }
}

const text = readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')
const { packages } = JSON.parse(text) as { readonly packages: { readonly [path: string]: Locked } }

test('package-lock: the binaries of other platforms, are all in it', () => {
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      (name) => !(`${path}/node_modules/${name}` in packages) && !(`node_modules/${name}` in packages),
    ),
  )
  expect(missing).toEqual([])
})

test('package-lock: addresses of a registry, are not in it', () => {
  expect(text).not.toMatch(/https?:\/\/registry\./)
  expect(Object.values(packages).filter((entry) => entry.resolved !== undefined)).toEqual([])
})
