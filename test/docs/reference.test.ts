import { expect, test } from 'vitest'
import { options } from '../../src/runtime/options.ts'
import { configurationPage, errorsPage, metricsPage } from './reference.ts'

const docs = new URL('../../docs/', import.meta.url).pathname

test('docs: configuration.md, it is what the table of settings says', async () => {
  await expect(configurationPage(options)).toMatchFileSnapshot(`${docs}configuration.md`)
})

test('docs: metrics.md, it is what the tables of metrics and sensors say', async () => {
  await expect(metricsPage()).toMatchFileSnapshot(`${docs}metrics.md`)
})

test('docs: errors.md, it is what the table of errors says', async () => {
  await expect(errorsPage()).toMatchFileSnapshot(`${docs}errors.md`)
})
