;; Wants 512 MiB before it runs a single instruction.
(module
  (memory (export "memory") 8192)
  (func (export "martello:pipeline/stage@0.1.0#process") (param i32) (result i32) unreachable)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))
