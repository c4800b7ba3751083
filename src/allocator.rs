//! The C library's allocator, told what suits this program.

/// Buffers of at least this many bytes go back to the system when they are freed. Blocks of a base,
/// packed and unpacked, are larger; what is read and written in small pieces is smaller.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 8 << 20;

/// Has large buffers go back to the system when they are freed.
///
/// glibc otherwise keeps them from the first one that is freed on, in an arena for each thread: with
/// a payload of 1 GB the program then held up to 458 MB, and 260 MB without (measured).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn give_back_large_buffers() {
    // SAFETY: mallopt(3) takes two numbers by value. It is called before there are other threads. A
    // value it does not take leaves everything as it was, so the answer does not matter.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Other C libraries do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_large_buffers() {}
