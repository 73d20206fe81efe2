// Package float16 turns the float32 part of a model into half precision: IEEE half (FLOAT16) or bfloat16 (BFLOAT16).
//
// It looks at the types of values and not at names: each node is either wholly in half precision or left as it is, and a
// Cast stands wherever a value crosses from one to the other. Which nodes are left is decided by what half precision
// cannot do (a weight or a value beyond 65504, a constant that becomes zero, a sum over thousands of elements, sizes and
// indexes that are computed in float) and by what the caller keeps. The rest, nodes without weights, go to the side that
// needs the fewest Casts: a minimum cut finds it.
//
// A value is cast once, beside the node that makes it, for all that read it, subgraphs included.
package float16
