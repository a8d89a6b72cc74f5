/*
 * assert: assertions that stay on in release builds (Varnish's rule).
 *
 * For what the code itself must guarantee: pre-conditions, state transitions, array
 * bounds. Never for anything that came from the wire or the disk.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

/* Log @expression and its place, then abort. */
_Noreturn void assert_failed(const char *expression, const char *file, int line);

#define ASSERT(expression) \
    ((expression) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__))

/* A place that is never reached; @what says what would have to be for it. */
#define ASSERT_NEVER(what) assert_failed((what), __FILE__, __LINE__)

#endif
