/** An error by its code and what its message must say. */
import { expect } from 'vitest'

export function refusal(code: string, ...words: readonly string[]) {
  const all = words.map((word) => `(?=.*${word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')})`).join('')
  return expect.objectContaining({ code, message: expect.stringMatching(new RegExp(all, 's')) })
}
