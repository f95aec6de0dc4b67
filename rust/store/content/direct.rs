//! Writing a file that nobody will read soon: past the page cache (`O_DIRECT`), which costs half the processor time of a usual write
//! and takes no memory from what is read often.
//!
//! Whole blocks go that way, the rest of the last one by a usual write. Where the file system does not have direct writes, or wants
//! other blocks, all of it goes by usual writes. In any case the octets are durable at the end, the name of the file is not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::pieces::{BLOCK, Pieces};

/// Writes all pieces to a new file at `path`, which is not left there half written.
pub fn write(path: &Path, pieces: &Pieces) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_all(file, pieces);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn write_all(mut file: File, pieces: &Pieces) -> io::Result<()> {
    let written = write_blocks(&mut file, pieces)?;
    for octets in pieces.from(written) {
        file.write_all(octets)?;
    }
    file.sync_data()
}

/// Writes whole blocks past the page cache; returns the octets written: none where that is not possible.
fn write_blocks(file: &mut File, pieces: &Pieces) -> io::Result<usize> {
    let whole = pieces.size() / BLOCK * BLOCK;
    let usual = fcntl_getfl(&*file)?;
    if whole == 0 || fcntl_setfl(&*file, usual | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = write_vectored(file, &mut slices(pieces, whole));
    fcntl_setfl(&*file, usual)?;
    match written {
        Ok(()) => Ok(whole),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            file.rewind()?;
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// The first `most` octets of the pieces.
fn slices(pieces: &Pieces, most: usize) -> Vec<IoSlice<'_>> {
    let mut left = most;
    let cut = pieces.from(0).map(|octets| {
        let octets = octets.get(..left).unwrap_or(octets);
        left -= octets.len();
        IoSlice::new(octets)
    });
    cut.filter(|slice| !slice.is_empty()).collect()
}

fn write_vectored(file: &mut File, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::buffers::PIECE;

    fn pieces(size: usize) -> (Vec<u8>, Pieces) {
        let octets: Vec<u8> = (0..size).map(|n| u8::try_from(n % 253).unwrap()).collect();
        let mut pieces = Pieces::new(&Arc::default(), size);
        assert!(pieces.write(&octets));
        (octets, pieces)
    }

    /// Each in a file system of its own: a disk, and memory.
    fn directories() -> impl Iterator<Item = std::path::PathBuf> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        [built, "/dev/shm".into(), std::env::temp_dir()].into_iter().filter(|directory| directory.is_dir())
    }

    #[test]
    fn every_octet_is_in_the_file_whatever_the_file_system() {
        for directory in directories() {
            let path = directory.join(format!("mailmoat-direct-{}", std::process::id()));
            for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PIECE, PIECE + 1, 2 * PIECE + 5 * BLOCK + 17] {
                let (octets, pieces) = pieces(size);
                write(&path, &pieces).unwrap();
                assert!(fs::read(&path).unwrap() == octets, "{size} octets below {}", directory.display());
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let path = std::env::temp_dir().join(format!("mailmoat-there-{}", std::process::id()));
        fs::write(&path, b"of another message").unwrap();
        assert_eq!(write(&path, &pieces(BLOCK).1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"of another message");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_without_direct_writes_is_written_from_its_beginning() {
        let (octets, pieces) = pieces(PIECE + 1);
        let path = std::env::temp_dir().join(format!("mailmoat-usual-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        // An address that is no multiple of a block is refused by a disk, and taken by a file system in memory.
        fcntl_setfl(&file, fcntl_getfl(&file).unwrap() | OFlags::DIRECT).unwrap_or_default();
        let refused = file.write(octets.get(1..=BLOCK).unwrap()).is_err();
        fcntl_setfl(&file, OFlags::WRONLY).unwrap();
        if !refused {
            file.rewind().unwrap();
        }
        let written = write_blocks(&mut file, &pieces).unwrap();
        pieces.from(written).for_each(|octets| file.write_all(octets).unwrap());
        assert!(fs::read(&path).unwrap() == octets);
        fs::remove_file(&path).unwrap();
    }
}
