import { expect, test } from 'vitest'
import { processIo } from '../../src/cli/io.ts'

test('io: a terminal that does not know its size, as in a container, is taken for one of usual size', () => {
  const { columns, rows } = process.stdout
  try {
    Object.assign(process.stdout, { columns: 0, rows: 0 })
    expect([processIo().columns(), processIo().rows()]).toEqual([100, 40])
    Object.assign(process.stdout, { columns: 80, rows: 24 })
    expect([processIo().columns(), processIo().rows()]).toEqual([80, 24])
  } finally {
    Object.assign(process.stdout, { columns, rows })
  }
})
