//! What a pickle holds: objects that name each other by number, so that neither depth nor repetition costs more than the bytes that
//! say it.

/// The number of an object.
pub type Id = u32;

/// What a pickle holds; texts are its own bytes.
#[derive(Debug, PartialEq)]
pub enum Object<'a> {
    /// Something whose content says nothing of a network.
    Other,
    /// A whole number that 64 bits hold.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// A class or a function, by module and name.
    Class(&'a str, &'a str),
    /// A tuple.
    Tuple(Vec<Id>),
    /// Keys and values.
    Dict(Vec<(Id, Id)>),
    /// What a call would give: the callable and its arguments.
    Call(Id, Id),
    /// What the pickle only names, as storages of tensors.
    Persistent(Id),
}

/// The objects of a pickle.
pub struct Objects<'a> {
    all: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Objects<'a> {
    /// Objects by their numbers; `root` is the one that was pickled.
    pub fn new(all: Vec<Object<'a>>, root: Id) -> Self {
        Self { all, root }
    }

    /// The object that was pickled.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The object with a number.
    pub fn at(&self, id: Id) -> &Object<'a> {
        &self.all[id as usize]
    }

    /// A text.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        match self.at(id) {
            Object::Text(text) => Some(*text),
            _ => None,
        }
    }

    /// A number that counts something.
    pub fn count(&self, id: Id) -> Option<usize> {
        match self.at(id) {
            Object::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The parts of a tuple.
    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.at(id) {
            Object::Tuple(parts) => Some(parts),
            _ => None,
        }
    }

    /// Module and name of a class.
    pub fn class(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.at(id) {
            Object::Class(module, name) => Some((*module, *name)),
            _ => None,
        }
    }

    /// Keys and values of a dictionary.
    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.at(id) {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}
