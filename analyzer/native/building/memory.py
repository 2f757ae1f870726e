"""The memory of loops that make arrays: the functions of numba's run-time library that they need.

An array's owner (MemInfo, numba/core/runtime/nrt.cpp) is a count of references, what to call at its
end and with what, the address, the size, and an allocator of its own: six words, which the array's
elements follow, aligned. The code that numba makes counts, and calls `call_dtor` at zero.
"""

from __future__ import annotations

SOURCE = """
declare ptr @malloc(i64)
declare void @free(ptr)

define hidden ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %wide = zext i32 %align to i64
  %head = add i64 %wide, 48
  %all = add i64 %head, %size
  %fits = icmp uge i64 %all, %size
  br i1 %fits, label %take, label %none
take:
  %owner = call ptr @malloc(i64 %all)
  %failed = icmp eq ptr %owner, null
  br i1 %failed, label %none, label %fill
fill:
  %start = ptrtoint ptr %owner to i64
  %mask = sub i64 0, %wide
  %more = sub i64 %head, 1
  %behind = add i64 %start, %more
  %data = and i64 %behind, %mask
  %w1 = getelementptr i64, ptr %owner, i64 1
  %w2 = getelementptr i64, ptr %owner, i64 2
  %w3 = getelementptr i64, ptr %owner, i64 3
  %w4 = getelementptr i64, ptr %owner, i64 4
  %w5 = getelementptr i64, ptr %owner, i64 5
  store i64 1, ptr %owner
  store i64 0, ptr %w1
  store i64 0, ptr %w2
  store i64 %data, ptr %w3
  store i64 %size, ptr %w4
  store i64 0, ptr %w5
  ret ptr %owner
none:
  ret ptr null
}

define hidden ptr @NRT_MemInfo_alloc(i64 %size) {
  %owner = call ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 16)
  ret ptr %owner
}

define hidden void @NRT_MemInfo_call_dtor(ptr %owner) {
  call void @free(ptr %owner)
  ret void
}
"""
"""in LLVM's language; align is a power of two"""
