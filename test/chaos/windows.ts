/** What the application and the model of its output must agree on. */
export const windowMs = 10_000
export const joinMs = 300
