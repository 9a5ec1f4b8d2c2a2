/** A record's headers: names may repeat and keep their order, a value may be null. Never changed in place. */
export type Header = { readonly key: string; readonly value: Buffer | null }

export type Headers = readonly Header[]

/** The one empty list: nearly every record has it, and `headers === noHeaders` is the quick test. */
export const noHeaders: Headers = Object.freeze([])
