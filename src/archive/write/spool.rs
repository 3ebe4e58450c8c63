//! Where members wait until the archive is joined: deflated blocks in one unlinked temporary file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};

/// How many plain bytes make a block. Blocks are cut by position alone, never by how the bytes
/// arrived, so that the same member always gives the same blocks. At 256 KiB the archive is about
/// two per cent larger than one stream would be, and a writer holds that much per open member.
pub(super) const BLOCK: usize = 256 * 1024;

/// Moves to a block what it still has room for; says whether it is full then.
pub(super) fn fill_block(block: &mut Vec<u8>, bytes: &mut &[u8]) -> bool {
    let (now, later) = bytes.split_at(bytes.len().min(BLOCK - block.len()));
    block.extend_from_slice(now);
    *bytes = later;
    block.len() == BLOCK
}

/// A piece of a member: a raw deflate stream that ends at a byte boundary and is not the last.
#[derive(Debug)]
pub(super) struct Block {
    offset: u64,
    /// The size in the spool.
    pub(super) compressed: u32,
    /// The size when inflated.
    pub(super) plain: u32,
    /// The checksum of the inflated bytes.
    pub(super) crc: Crc,
}

/// The temporary file. It has no name, so that nothing is left whatever happens to the process,
/// and holds only what the redactor let through.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    end: AtomicU64,
    deflaters: Mutex<Vec<Deflater>>,
    inflaters: Mutex<Vec<Inflater>>,
    /// Room for blocks in the making, to be used again.
    blocks: Mutex<Vec<Vec<u8>>>,
}

/// How many rooms for blocks are kept.
const ROOMS: usize = 16;

/// What reading a block needs, kept for the next one: an archive is read back in tens of thousands of
/// members.
struct Inflater {
    decompress: Decompress,
    compressed: Vec<u8>,
    plain: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { decompress: Decompress::new(false), compressed: Vec::new(), plain: Vec::new() }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Spool {
    /// A spool in this directory; the file is made when it is first needed.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            file: Mutex::default(),
            end: AtomicU64::new(0),
            deflaters: Mutex::default(),
            inflaters: Mutex::default(),
            blocks: Mutex::default(),
        }
    }

    /// The directory, for messages.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the file now, to find out whether the directory can be written.
    pub(super) fn open(&self) -> io::Result<Arc<File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let made = Arc::new(tempfile::tempfile_in(&self.directory)?);
        *file = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Deflates a block and stores it.
    pub(super) fn store(&self, plain: &[u8]) -> io::Result<Block> {
        let pooled = self.deflaters.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut deflater = pooled.unwrap_or_default();
        let outcome = deflater.block(plain).and_then(|(compressed, crc)| {
            let offset = self.end.fetch_add(compressed.len() as u64, Ordering::Relaxed);
            write_at(&*self.open()?, compressed, offset)?;
            Ok(Block { offset, compressed: size(compressed)?, plain: size(plain)?, crc })
        });
        self.deflaters.lock().unwrap_or_else(PoisonError::into_inner).push(deflater);
        outcome
    }

    /// Gives the room of a block that is not needed any more back to the disk, where the system and
    /// the file system can do that; elsewhere it is free when the archive is finished.
    pub(super) fn release(&self, block: &Block) {
        #[cfg(target_os = "linux")]
        if let Ok(file) = self.open() {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // What cannot be given back now is only given back later.
            let _ = fallocate(&*file, flags, block.offset, u64::from(block.compressed));
        }
        let _ = block;
    }

    /// Room for a block, used before or not made yet.
    pub(super) fn block(&self) -> Vec<u8> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes back the room of a block that is stored.
    pub(super) fn take_back(&self, mut block: Vec<u8>) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if (BLOCK..=2 * BLOCK).contains(&block.capacity()) && blocks.len() < ROOMS {
            block.clear();
            blocks.push(block);
        }
    }

    /// Lets go of what is only needed while many members are written side by side.
    pub(super) fn settle(&self) {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.deflaters.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reads a block as it stands in the spool.
    pub(super) fn compressed(&self, block: &Block, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(block.compressed as usize, 0);
        read_at(&*self.open()?, into, block.offset)
    }

    /// Reads a block and inflates it, into the plain bytes of this.
    fn plain(&self, block: &Block, inflater: &mut Inflater) -> io::Result<()> {
        let Inflater { decompress, compressed, plain } = inflater;
        self.compressed(block, compressed)?;
        plain.clear();
        // One more than needed: the output is never full before the end.
        plain.reserve(block.plain as usize + 1);
        decompress.reset(false);
        decompress.decompress_vec(compressed, plain, FlushDecompress::Sync)?;
        if plain.len() == block.plain as usize {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the temporary file was changed by someone else"))
        }
    }

    fn inflaters(&self) -> MutexGuard<'_, Vec<Inflater>> {
        self.inflaters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, into, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into = &mut into[n..];
        offset += n as u64;
    }
    Ok(())
}

/// Makes blocks; keeps its tables, which are larger than most blocks.
#[derive(Debug)]
pub(super) struct Deflater {
    compress: Compress,
    out: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self { compress: Compress::new(Compression::new(6), false), out: Vec::new() }
    }
}

impl Deflater {
    /// A raw deflate stream of these bytes that refers to nothing before it and ends at a byte
    /// boundary, so that blocks can be put one after the other; and their checksum.
    pub(super) fn block(&mut self, plain: &[u8]) -> io::Result<(&[u8], Crc)> {
        let mut crc = Crc::new();
        crc.update(plain);
        self.compress.reset();
        self.out.clear();
        self.out.reserve(plain.len() / 4 + 256);
        loop {
            let done = usize::try_from(self.compress.total_in()).map_err(io::Error::other)?;
            self.compress.compress_vec(&plain[done..], &mut self.out, FlushCompress::Sync)?;
            // Room left in the output means that everything, the flush included, is in it.
            if self.compress.total_in() == plain.len() as u64 && self.out.len() < self.out.capacity() {
                return Ok((&self.out, crc));
            }
            self.out.reserve(self.out.capacity().max(256));
        }
    }
}

/// Reads a spooled member from its beginning to its end.
pub(super) struct BlockReader<'a> {
    spool: &'a Spool,
    blocks: std::slice::Iter<'a, Block>,
    /// There until this is dropped.
    inflater: Option<Inflater>,
    at: usize,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(spool: &'a Spool, blocks: &'a [Block]) -> Self {
        let mut inflater = spool.inflaters().pop().unwrap_or_default();
        inflater.plain.clear();
        Self { spool, blocks: blocks.iter(), inflater: Some(inflater), at: 0 }
    }
}

impl Drop for BlockReader<'_> {
    fn drop(&mut self) {
        self.spool.inflaters().extend(self.inflater.take());
    }
}

impl Read for BlockReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(inflater) = &mut self.inflater else { return Ok(0) };
        while self.at == inflater.plain.len() {
            let Some(block) = self.blocks.next() else { return Ok(0) };
            self.at = 0;
            if let Err(error) = self.spool.plain(block, inflater) {
                inflater.plain.clear();
                return Err(error);
            }
        }
        let plain = &inflater.plain[self.at..];
        let n = into.len().min(plain.len());
        into[..n].copy_from_slice(&plain[..n]);
        self.at += n;
        Ok(n)
    }
}
