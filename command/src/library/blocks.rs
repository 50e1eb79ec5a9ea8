//! Reads a file by blocks. A program can have hundreds of megabytes, of which a few hundred numbers
//! and names are needed, which lie close together.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const BLOCK: usize = 64 * 1024;

/// The file, its first block, which is read often, and the block that was read last.
pub(crate) struct Blocks {
    file: File,
    length: u64,
    position: u64,
    first: Vec<u8>,
    /// Where the block begins.
    start: u64,
    block: Vec<u8>,
}

impl Blocks {
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            position: 0,
            first: Vec::new(),
            start: 0,
            block: Vec::new(),
        })
    }

    /// The bytes in memory from the position on.
    fn held(&self) -> &[u8] {
        let in_first = usize::try_from(self.position).ok();
        let first = in_first.and_then(|offset| self.first.get(offset..));
        first.filter(|held| !held.is_empty()).unwrap_or_else(|| {
            self.position
                .checked_sub(self.start)
                .and_then(|offset| self.block.get(usize::try_from(offset).ok()?..))
                .unwrap_or(&[])
        })
    }

    /// Reads the block that the position is in.
    fn fetch(&mut self) -> io::Result<()> {
        let start = self.position - self.position % BLOCK as u64;
        let block = if start == 0 {
            &mut self.first
        } else {
            self.start = start;
            &mut self.block
        };
        block.resize(BLOCK, 0);
        let count = self.file.read_at(block, start);
        block.truncate(*count.as_ref().unwrap_or(&0));
        count.map(|_| ())
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held().is_empty() {
            self.fetch()?;
        }
        let count = self.held().read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Blocks {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_what_the_file_holds() {
        let path = std::env::temp_dir().join(format!("reuseaddr-blocks.{}", std::process::id()));
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * BLOCK + 7).collect();
        File::create(&path)
            .and_then(|mut file| file.write_all(&bytes))
            .expect("the folder is writable");
        let mut blocks = File::open(&path)
            .and_then(Blocks::of)
            .expect("the file is there");
        std::fs::remove_file(&path).expect("the file is ours");
        for (at, length) in [
            (0, 4),
            (BLOCK - 3, 9),
            (5, 1),
            (2 * BLOCK, BLOCK + 7),
            (100, 2 * BLOCK),
        ] {
            blocks
                .seek(SeekFrom::Start(at as u64))
                .expect("a place in the file");
            let mut found = vec![0; length];
            blocks.read_exact(&mut found).expect("so many bytes");
            assert!(found == bytes[at..at + length], "{at} {length}");
        }
        assert_eq!(
            blocks.seek(SeekFrom::End(0)).expect("its end"),
            bytes.len() as u64
        );
        assert_eq!(blocks.read(&mut [0; 9]).expect("nothing"), 0);
        assert!(blocks.seek(SeekFrom::Current(i64::MIN)).is_err());
    }
}
