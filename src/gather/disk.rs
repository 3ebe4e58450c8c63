//! How much room a collection may take on the disk of the must-gather pod, whose volume checker
//! kills whoever fills it, in the middle of whatever is being written.

use std::path::Path;

/// The most that is ever taken.
const MOST: u64 = 2 << 30;
/// The part of the file system that may be full, in percent. `oc adm must-gather` kills at 70.
const PERCENT: u64 = 60;

/// How many bytes may be written below this directory.
#[must_use]
pub fn budget(directory: &Path) -> u64 {
    #[cfg(unix)]
    {
        if let Ok(room) = rustix::fs::statvfs(directory) {
            let bytes = |blocks: u64| room.f_frsize.saturating_mul(blocks);
            return of(bytes(room.f_blocks.saturating_sub(room.f_bfree)), bytes(room.f_bavail));
        }
    }
    let _ = directory;
    MOST
}

/// The budget of a file system with so much used and so much left for us; what is reserved counts as
/// neither, as for `df`, whose percentage the volume checker reads.
fn of(used: u64, free: u64) -> u64 {
    (used.saturating_add(free) / 100 * PERCENT).saturating_sub(used).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_no_room() {
        const GIB: u64 = 1 << 30;
        assert_eq!(of(10 * GIB, 90 * GIB), 2 * GIB);
        assert_eq!(of(70 * GIB, 30 * GIB), 0);
        assert!(of(GIB / 2, GIB + GIB / 2) < GIB);
        assert!(budget(Path::new("/")) <= MOST);
    }
}
