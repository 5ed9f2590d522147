;; Grows a table until the host refuses, then traps.
(module
  (table $bomb 1 funcref)
  (memory (export "memory") 1)
  (func (export "martello:pipeline/stage@0.1.0#process") (param i32) (result i32)
    (loop $again
      (br_if $again
        (i32.ne (table.grow $bomb (ref.null func) (i32.const 1000)) (i32.const -1))))
    unreachable)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))
