//! How much room a collection may take on the disk of the must-gather pod, whose volume checker
//! kills whoever fills it, in the middle of whatever is being written.

use std::path::Path;

/// The most that is ever taken.
const MOST: u64 = 2 << 30;
/// From which part on, in percent, `oc adm must-gather` kills, unless told otherwise.
const PERCENT: u64 = 70;
/// The most that is taken of a file system that is fuller than that.
const LEAST: u64 = 256 << 20;

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
/// neither, as for `df`, whose percentage the volume checker reads. Others write there, too, so that it is
/// half of what is left until the checker kills. Where it would have killed already, it does not run or was
/// told another limit: then a tenth of what is free.
fn of(used: u64, free: u64) -> u64 {
    match (used.saturating_add(free) / 100 * PERCENT).saturating_sub(used) {
        0 => (free / 10).min(LEAST),
        left => (left / 2).min(MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_no_room() {
        const GIB: u64 = 1 << 30;
        assert_eq!(of(10 * GIB, 90 * GIB), 2 * GIB);
        assert_eq!(of(65 * GIB, 35 * GIB), 2 * GIB);
        assert_eq!(of(69 * GIB, 31 * GIB), GIB / 2);
        assert_eq!(of(80 * GIB, 20 * GIB), LEAST);
        assert_eq!(of(100 * GIB, 0), 0);
        assert!(of(GIB / 2, GIB + GIB / 2) < GIB);
        assert!(budget(Path::new("/")) <= MOST);
    }
}
