//! Reads a pickle, protocols 0 to 5, into a list of objects that name each other by number. It calls nothing and keeps nothing that it
//! does not need: of numbers that are not whole, bytes, lists and sets there is only that they were there.
//!
//! No depth and no repetition costs more than the bytes that say it: nothing is copied and nothing recurses.

use anyhow::{Result, bail, ensure};

use super::{
    cursor::Cursor,
    objects::{Id, Object, Objects},
};

/// The longest pickle that is read. That of a large network with its optimizer has some hundred KiB: elements are not in it.
pub const MAX_BYTES: u64 = 64 << 20;
/// The most objects: 160 MiB of them.
const MAX_OBJECTS: usize = 4 << 20;
/// The most marks at a time, each a level that was begun and not ended.
const MAX_DEPTH: usize = 1 << 20;
/// The longest text that may be a name, in bytes; what is longer is of no use.
const MAX_NAME: usize = 512;
/// The newest protocol, that of Python 3.8.
const NEWEST: u8 = 5;

/// Reads a pickle.
///
/// # Errors
/// When it is damaged, longer than [`MAX_BYTES`] or of too many objects; the message has the byte.
pub fn read(pickle: &[u8]) -> Result<Objects<'_>> {
    ensure!(
        pickle.len() as u64 <= MAX_BYTES,
        "{} bytes long, expected at most {MAX_BYTES}; {ALONE}",
        pickle.len()
    );
    let mut machine = Machine {
        at: Cursor::new(pickle),
        ..Machine::default()
    };
    // The one that stands for all that is of no use.
    machine.objects.push(Object::Other);
    loop {
        if let Some(root) = machine.step()? {
            return Ok(Objects::new(machine.objects, root));
        }
    }
}

/// What helps where a file holds more than weights.
pub const ALONE: &str = "save the weights alone, with torch.save(model.state_dict(), FILE)";

const OTHER: Id = 0;
/// A place of the memo where nothing was put.
const NOTHING: Id = Id::MAX;

/// Reads an operation at a time.
#[derive(Default)]
struct Machine<'a> {
    at: Cursor<'a>,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Id>,
}

impl<'a> Machine<'a> {
    /// Does an operation; gives the whole at the last.
    fn step(&mut self) -> Result<Option<Id>> {
        let code = self.at.operation()?;
        // The codes of Python's `pickletools`.
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.at.bytes(1)?[0];
                ensure!(
                    protocol <= NEWEST,
                    "pickle protocol {protocol}, expected at most {NEWEST}; {ALONE}"
                );
            }
            // A frame: its operations follow.
            0x95 => drop(self.at.bytes(8)?),
            b'(' => {
                ensure!(
                    self.marks.len() < MAX_DEPTH,
                    "more than {MAX_DEPTH} levels deep at byte {}; {ALONE}",
                    self.at.begin
                );
                self.marks.push(self.stack.len());
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' | b'r' | b'p' | b'h' | b'j' | b'g' | 0x94 => self.remember(code)?,
            b'K' | b'M' | b'J' | b'I' | b'L' | 0x8a | 0x8b => self.number(code)?,
            b'X' | b'T' | b'U' | b'V' | 0x8c | 0x8d => self.characters(code)?,
            // None and booleans; empty lists and sets; what the system's registry knows by number; a buffer beside the pickle.
            b'N' | 0x88 | 0x89 | b']' | 0x8f | 0x97 => self.stack.push(OTHER),
            0x82 => self.skipped(1)?,
            0x83 => self.skipped(2)?,
            0x84 => self.skipped(4)?,
            b'G' => self.skipped(8)?,
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = self.at.length(code)?;
                self.skipped(length)?;
            }
            b'F' | b'S' => {
                self.at.line()?;
                self.stack.push(OTHER);
            }
            // That a buffer is for reading only.
            0x98 => drop(self.top()?),
            b'l' | 0x91 => {
                self.since_mark()?;
                self.stack.push(OTHER);
            }
            b'a' => drop(self.pop()?),
            b'e' | 0x90 => drop(self.since_mark()?),
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b'd' => {
                let entries = pairs(self.since_mark()?);
                self.push(Object::Dict(entries))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.put_entries(vec![(key, value)])?;
            }
            b'u' => {
                let entries = pairs(self.since_mark()?);
                self.put_entries(entries)?;
            }
            b')' => self.push(Object::Tuple(Vec::new()))?,
            b't' => {
                let parts = self.since_mark()?;
                self.push(Object::Tuple(parts))?;
            }
            0x85..=0x87 => {
                let mut parts = Vec::new();
                for _ in 0x85..=code {
                    parts.insert(0, self.pop()?);
                }
                self.push(Object::Tuple(parts))?;
            }
            b'c' | 0x93 | b'i' | b'o' | b'R' | 0x81 | 0x92 | b'Q' | b'P' => self.made(code)?,
            // The state of an object: attributes, which are none of a dictionary's entries.
            b'b' => drop(self.pop()?),
            _ => bail!(
                "cannot be read at byte {}: {code:#04x} is no operation of a pickle, expected that of a state dict; {ALONE}",
                self.at.begin
            ),
        }
        Ok(None)
    }

    /// Classes, calls and what the pickle only names.
    fn made(&mut self, code: u8) -> Result<()> {
        let object = match code {
            b'c' => Object::Class(self.at.name()?, self.at.name()?),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.objects[module as usize], &self.objects[name as usize]) {
                    (Object::Text(module), Object::Text(name)) => Object::Class(module, name),
                    _ => bail!("damaged at byte {}: a class without a name", self.at.begin),
                }
            }
            b'i' => {
                let class = Object::Class(self.at.name()?, self.at.name()?);
                let arguments = self.since_mark()?;
                self.push(class)?;
                let class = self.pop()?;
                self.push(Object::Tuple(arguments))?;
                Object::Call(class, self.pop()?)
            }
            b'o' => {
                let mut parts = self.since_mark()?;
                ensure!(
                    !parts.is_empty(),
                    "damaged at byte {}: an object without a class",
                    self.at.begin
                );
                let class = parts.remove(0);
                self.push(Object::Tuple(parts))?;
                Object::Call(class, self.pop()?)
            }
            b'Q' => Object::Persistent(self.pop()?),
            b'P' => bail!(
                "pickle protocol 0, which loses where tensors are stored, expected protocol 1 to {NEWEST}; {ALONE}"
            ),
            _ => {
                // With a dictionary of named arguments.
                if code == 0x92 {
                    self.pop()?;
                }
                let (arguments, callable) = (self.pop()?, self.pop()?);
                match self.objects[callable as usize] {
                    Object::Class("collections", "OrderedDict" | "defaultdict") => {
                        Object::Dict(Vec::new())
                    }
                    _ => Object::Call(callable, arguments),
                }
            }
        };
        self.push(object)
    }

    /// Puts the top into the memo, or an object of the memo onto the stack.
    fn remember(&mut self, code: u8) -> Result<()> {
        let place = match code {
            0x94 => self.memo.len(),
            b'q' | b'h' => usize::from(self.at.bytes(1)?[0]),
            b'r' | b'j' => self.at.little(4)? as usize,
            _ => match self.at.decimal()? {
                Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
                None => usize::MAX,
            },
        };
        if matches!(code, b'h' | b'j' | b'g') {
            let found = self.memo.get(place).filter(|id| **id != NOTHING);
            let Some(found) = found else {
                bail!(
                    "damaged at byte {}: the memo has nothing at {place}",
                    self.at.begin
                );
            };
            self.stack.push(*found);
            return Ok(());
        }
        // Every object that a pickle remembers has bytes of its own.
        ensure!(
            place < self.at.next,
            "damaged at byte {}: place {place} of the memo",
            self.at.begin
        );
        if self.memo.len() <= place {
            self.memo.resize(place + 1, NOTHING);
        }
        self.memo[place] = self.top()?;
        Ok(())
    }

    fn number(&mut self, code: u8) -> Result<()> {
        let number = match code {
            b'K' => Some(self.at.little(1)? as i64),
            b'M' => Some(self.at.little(2)? as i64),
            b'J' => Some(i64::from(self.at.little(4)? as u32 as i32)),
            0x8a | 0x8b => {
                let length = match code {
                    0x8a => self.at.little(1)?,
                    _ => self.at.little(4)?,
                };
                let bytes = self.at.bytes(length)?;
                // The sign is that of the last byte.
                let fill = match bytes.last() {
                    Some(last) if *last >= 0x80 => 0xff,
                    _ => 0,
                };
                let mut all = [fill; 8];
                let fits = bytes.len() <= 8;
                if fits {
                    all[..bytes.len()].copy_from_slice(bytes);
                }
                fits.then(|| i64::from_le_bytes(all))
            }
            _ => self.at.decimal()?,
        };
        match number {
            Some(number) => self.push(Object::Int(number)),
            None => {
                self.stack.push(OTHER);
                Ok(())
            }
        }
    }

    fn characters(&mut self, code: u8) -> Result<()> {
        let bytes = match code {
            b'V' => self.at.line()?,
            _ => {
                let length = self.at.length(code)?;
                self.at.bytes(length)?
            }
        };
        // Protocol 0 escapes what is not ASCII; names of tensors are.
        match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= MAX_NAME && (code != b'V' || !text.contains('\\')) => {
                self.push(Object::Text(text))
            }
            _ => {
                self.stack.push(OTHER);
                Ok(())
            }
        }
    }

    /// Something of so many bytes whose content is of no use.
    fn skipped(&mut self, length: u64) -> Result<()> {
        self.at.bytes(length)?;
        self.stack.push(OTHER);
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) -> Result<()> {
        ensure!(
            self.objects.len() < MAX_OBJECTS,
            "more than {MAX_OBJECTS} objects up to byte {}; {ALONE}",
            self.at.begin
        );
        self.stack.push(self.objects.len() as Id);
        self.objects.push(object);
        Ok(())
    }

    /// The top of the stack, above the last mark.
    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(id) if self.stack.len() > floor => Ok(*id),
            _ => bail!(
                "cannot be read at byte {}: nothing to operate on, expected the pickle of a state dict; {ALONE}",
                self.at.begin
            ),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// What was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(height) => {
                // Not `split_off`, which may keep the stack's capacity.
                let since = self.stack[height..].to_vec();
                self.stack.truncate(height);
                Ok(since)
            }
            None => bail!("damaged at byte {}: a mark is missing", self.at.begin),
        }
    }

    /// Entries of the object on the top: one of a class of its own that takes them is a dictionary too.
    fn put_entries(&mut self, entries: Vec<(Id, Id)>) -> Result<()> {
        let target = self.top()? as usize;
        match &mut self.objects[target] {
            Object::Dict(own) => own.extend(entries),
            own @ Object::Call(..) => *own = Object::Dict(entries),
            _ => {}
        }
        Ok(())
    }
}

fn pairs(list: Vec<Id>) -> Vec<(Id, Id)> {
    list.chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}
