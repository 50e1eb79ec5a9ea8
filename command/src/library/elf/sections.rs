//! Reads an ELF file's sections: what it needs, imports and defines.

use super::{HOOKED, LIBC};
use anyhow::Result;
use object::Endianness;
use object::ReadRef;
use object::elf;
use object::read::elf::{Dyn, FileHeader, SectionHeader, SectionTable, Sym};
use std::collections::BTreeSet;

/// The functions that find others by name, perhaps libc's `bind`.
const LOADERS: [&str; 4] = ["dlmopen", "dlopen", "dlsym", "dlvsym"];

/// The functions that start programs.
const STARTERS: [&str; 13] = [
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execveat",
    "execvp",
    "execvpe",
    "fexecve",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "system",
];

/// A file's sections.
pub(super) struct Sections<'data, Header: FileHeader<Endian = Endianness>, R: ReadRef<'data>> {
    pub(super) table: SectionTable<'data, Header, R>,
    pub(super) endian: Endianness,
    pub(super) data: R,
}

/// The functions that a file imports and defines.
pub(super) struct Functions {
    pub(super) imports: BTreeSet<&'static str>,
    pub(super) exports: BTreeSet<&'static str>,
    pub(super) loads: bool,
    pub(super) starts: bool,
}

impl<'data, Header, R> Sections<'data, Header, R>
where
    Header: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    /// The libraries that it needs, and whether it names auditing libraries.
    pub(super) fn dynamic(&self) -> Result<(BTreeSet<String>, bool)> {
        let mut needed = BTreeSet::new();
        let mut audited = false;
        if let Some((entries, link)) = self.table.dynamic(self.endian, self.data)? {
            let strings = self.table.strings(self.endian, self.data, link)?;
            for entry in entries {
                match entry.tag(self.endian) {
                    elf::DT_NEEDED => {
                        let name = entry.string(self.endian, strings)?;
                        needed.insert(String::from_utf8_lossy(name).into_owned());
                    }
                    elf::DT_AUDIT | elf::DT_DEPAUDIT => audited = true,
                    _ => {}
                }
            }
        }
        Ok((needed, audited))
    }

    /// The highest version of libc.so.6 that it needs, and whether it needs one without a number.
    pub(super) fn needed_versions(&self) -> Result<(Option<(u32, u32)>, bool)> {
        let mut glibc = None;
        let mut asks_by_name = false;
        if let Some((mut files, link)) = self.table.gnu_verneed(self.endian, self.data)? {
            let strings = self.table.strings(self.endian, self.data, link)?;
            while let Some((file, mut versions)) = files.next()? {
                let of_libc = file.file(self.endian, strings)? == LIBC.as_bytes();
                while let Some(version) = versions.next()? {
                    match glibc_version(version.name(self.endian, strings)?) {
                        Some(number) if of_libc => glibc = glibc.max(Some(number)),
                        Some(_) => {}
                        None => asks_by_name = true,
                    }
                }
            }
        }
        Ok((glibc, asks_by_name))
    }

    /// Whether it defines `GLIBC_PRIVATE`.
    pub(super) fn defines_private_versions(&self) -> Result<bool> {
        let mut found = false;
        if let Some((mut versions, link)) = self.table.gnu_verdef(self.endian, self.data)? {
            let strings = self.table.strings(self.endian, self.data, link)?;
            while let Some((_, mut names)) = versions.next()? {
                if let Some(name) = names.next()? {
                    found |= name.name(self.endian, strings)? == b"GLIBC_PRIVATE";
                }
            }
        }
        Ok(found)
    }

    /// The version in libreuse's own note.
    pub(super) fn libreuse_version(&self) -> Result<Option<String>> {
        let name = b".note.libreuse";
        let Some((_, section)) = self.table.section_by_name(self.endian, name) else {
            return Ok(None);
        };
        let Some(mut notes) = section.notes(self.endian, self.data)? else {
            return Ok(None);
        };
        let note = notes.next()?;
        let text = note.and_then(|note| note.desc().split(|&byte| byte == 0).next());
        Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()))
    }

    pub(super) fn functions(&self) -> Result<Functions> {
        let is_one_of = |names: &[&str], name: &[u8]| names.iter().any(|it| it.as_bytes() == name);
        let mut found = Functions {
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
            // A program without sections may call anything.
            loads: self.table.is_empty(),
            starts: false,
        };
        let symbols = self
            .table
            .symbols(self.endian, self.data, elf::SHT_DYNSYM)?;
        for symbol in symbols.iter() {
            let name = symbol.name(self.endian, symbols.strings())?;
            let is_import = symbol.is_undefined(self.endian);
            if is_import {
                found.loads |= is_one_of(&LOADERS, name);
                found.starts |= is_one_of(&STARTERS, name);
            }
            if let Some(name) = HOOKED.into_iter().find(|hooked| hooked.as_bytes() == name) {
                if is_import {
                    &mut found.imports
                } else {
                    &mut found.exports
                }
                .insert(name);
            }
        }
        Ok(found)
    }
}

/// The number in `GLIBC_2.34`.
fn glibc_version(name: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = std::str::from_utf8(name)
        .ok()?
        .strip_prefix("GLIBC_")?
        .split('.')
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_glibc_are_numbers() {
        for (name, expected) in [
            (&b"GLIBC_2.34"[..], Some((2, 34))),
            (b"GLIBC_2.2.5", Some((2, 2))),
            (b"GLIBC_PRIVATE", None),
            (b"GLIBC_ABI_DT_RELR", None),
            (b"GCC_3.0", None),
        ] {
            assert_eq!(glibc_version(name), expected);
        }
        assert!(glibc_version(b"GLIBC_2.4") < glibc_version(b"GLIBC_2.17"));
    }
}
