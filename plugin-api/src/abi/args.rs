//! Bags of named values: what a call is handed ([`Args`]) and what it gives back ([`Reply`]).

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr, RString, RVec},
};

use super::{Error, ErrorKind, RComponent, Tensor};

/// A value with its name, of each kind: borrowed for a call, and owned by a reply.
macro_rules! named {
    ($($lent:ident: $value:ty, $owned:ident: $kept:ty;)*) => { $(
        #[repr(C)]
        #[derive(StableAbi, Copy, Clone)]
        struct $lent<'a> {
            key: RStr<'a>,
            value: $value,
        }

        impl<'a> $lent<'a> {
            fn new(key: &'a str, value: impl Into<$value>) -> Self {
                Self { key: key.into(), value: value.into() }
            }

            fn called(key: &str, all: RSlice<'a, Self>) -> impl Iterator<Item = $value> {
                all.as_slice().iter().filter(move |n| n.key == *key).map(|n| n.value)
            }
        }

        #[repr(C)]
        #[derive(StableAbi)]
        struct $owned {
            key: RString,
            value: $kept,
        }

        impl $owned {
            fn new(key: &str, value: impl Into<$kept>) -> Self {
                Self { key: key.into(), value: value.into() }
            }
        }
    )* };
}

named! {
    NamedTensor: &'a Tensor, OwnedTensor: Tensor;
    NamedInts: RSlice<'a, i64>, OwnedInts: RVec<i64>;
    NamedFloats: RSlice<'a, f64>, OwnedFloats: RVec<f64>;
    NamedText: RStr<'a>, OwnedText: RString;
    NamedComponent: &'a RComponent, OwnedComponent: RComponent;
}

/// The named values of a call, borrowed from the caller. A name may occur many times; it then denotes a list.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct Args<'a> {
    tensors: RSlice<'a, NamedTensor<'a>>,
    ints: RSlice<'a, NamedInts<'a>>,
    floats: RSlice<'a, NamedFloats<'a>>,
    texts: RSlice<'a, NamedText<'a>>,
    components: RSlice<'a, NamedComponent<'a>>,
}

fn missing(what: &str, key: &str) -> Error {
    Error::new(
        ErrorKind::UNSUPPORTED,
        format!(
            "the other side of the plugin boundary passed no {what} \"{key}\"; host and plugin may have different versions"
        ),
    )
}

impl<'a> Args<'a> {
    /// All tensors called `key`, in order.
    pub fn tensors(&self, key: &str) -> impl Iterator<Item = &'a Tensor> {
        NamedTensor::called(key, self.tensors)
    }

    /// The first tensor called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn tensor(&self, key: &str) -> Result<&'a Tensor, Error> {
        self.tensors(key)
            .next()
            .ok_or_else(|| missing("tensor", key))
    }

    /// The integers called `key`, if given.
    pub fn ints(&self, key: &str) -> Option<&'a [i64]> {
        let mut found = NamedInts::called(key, self.ints);
        found.next().map(|v| v.as_slice())
    }

    /// All lists of integers called `key`, in order.
    pub fn all_ints(&self, key: &str) -> impl Iterator<Item = &'a [i64]> {
        NamedInts::called(key, self.ints).map(|v| v.as_slice())
    }

    /// The first of the integers called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn int(&self, key: &str) -> Result<i64, Error> {
        let first = self.ints(key).and_then(|v| v.first().copied());
        first.ok_or_else(|| missing("integer", key))
    }

    /// The numbers called `key`, if given.
    pub fn floats(&self, key: &str) -> Option<&'a [f64]> {
        let mut found = NamedFloats::called(key, self.floats);
        found.next().map(|v| v.as_slice())
    }

    /// All texts called `key`, in order.
    pub fn texts(&self, key: &str) -> impl Iterator<Item = &'a str> {
        NamedText::called(key, self.texts).map(|v| v.as_str())
    }

    /// The first text called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn text(&self, key: &str) -> Result<&'a str, Error> {
        self.texts(key).next().ok_or_else(|| missing("text", key))
    }

    /// The first component called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn component(&self, key: &str) -> Result<&'a RComponent, Error> {
        let found = NamedComponent::called(key, self.components).next();
        found.ok_or_else(|| missing("component", key))
    }
}

macro_rules! append {
    ($key:ty; $($(#[$doc:meta])* $name:ident($value:ty) to $rows:ident: $row:ident;)*) => { $(
        $(#[$doc])*
        pub fn $name(&mut self, key: $key, value: $value) -> &mut Self {
            self.$rows.push($row::new(key, value));
            self
        }
    )* };
}

/// The caller's side of [`Args`].
#[derive(Default)]
pub struct ArgsBuf<'a> {
    tensors: Vec<NamedTensor<'a>>,
    ints: Vec<NamedInts<'a>>,
    floats: Vec<NamedFloats<'a>>,
    texts: Vec<NamedText<'a>>,
    components: Vec<NamedComponent<'a>>,
}

impl<'a> ArgsBuf<'a> {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    append! {
        &'a str;
        /// Appends a tensor.
        tensor(&'a Tensor) to tensors: NamedTensor;
        /// Appends integers.
        ints(&'a [i64]) to ints: NamedInts;
        /// Appends numbers.
        floats(&'a [f64]) to floats: NamedFloats;
        /// Appends a text.
        text(&'a str) to texts: NamedText;
        /// Appends a component that the callee may call back.
        component(&'a RComponent) to components: NamedComponent;
    }

    /// Lends the values for one call.
    pub fn lend<R>(&self, f: impl FnOnce(&Args<'_>) -> R) -> R {
        f(&Args {
            tensors: RSlice::from_slice(&self.tensors),
            ints: RSlice::from_slice(&self.ints),
            floats: RSlice::from_slice(&self.floats),
            texts: RSlice::from_slice(&self.texts),
            components: RSlice::from_slice(&self.components),
        })
    }
}

/// The named values that a call gives back.
#[repr(C)]
#[derive(StableAbi, Default)]
pub struct Reply {
    tensors: RVec<OwnedTensor>,
    ints: RVec<OwnedInts>,
    floats: RVec<OwnedFloats>,
    texts: RVec<OwnedText>,
    components: RVec<OwnedComponent>,
}

impl Reply {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    append! {
        &str;
        /// Appends a tensor.
        tensor(Tensor) to tensors: OwnedTensor;
        /// Appends integers.
        ints(Vec<i64>) to ints: OwnedInts;
        /// Appends numbers.
        floats(Vec<f64>) to floats: OwnedFloats;
        /// Appends a component.
        component(RComponent) to components: OwnedComponent;
    }

    /// Appends a text.
    pub fn text(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.texts.push(OwnedText::new(key, value.into()));
        self
    }

    /// Takes out the first tensor called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn take_tensor(&mut self, key: &str) -> Result<Tensor, Error> {
        let at = self.tensors.iter().position(|n| n.key == *key);
        at.map(|i| self.tensors.remove(i).value)
            .ok_or_else(|| missing("tensor", key))
    }

    /// All tensors with their names, in order.
    pub fn into_tensors(mut self) -> Vec<(String, Tensor)> {
        self.take_tensors()
    }

    /// Takes out all tensors, leaving the rest.
    pub fn take_tensors(&mut self) -> Vec<(String, Tensor)> {
        let all = std::mem::take(&mut self.tensors);
        all.into_iter()
            .map(|n| (n.key.into_string(), n.value))
            .collect()
    }

    /// The integers called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there are none.
    pub fn get_ints(&self, key: &str) -> Result<&[i64], Error> {
        let found = self.ints.iter().find(|n| n.key == *key);
        found
            .map(|n| n.value.as_slice())
            .ok_or_else(|| missing("integers", key))
    }

    /// The text called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn get_text(&self, key: &str) -> Result<&str, Error> {
        let found = self.texts.iter().find(|n| n.key == *key);
        found
            .map(|n| n.value.as_str())
            .ok_or_else(|| missing("text", key))
    }

    /// Takes out the component called `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UNSUPPORTED`] when there is none.
    pub fn take_component(&mut self, key: &str) -> Result<RComponent, Error> {
        let at = self.components.iter().position(|n| n.key == *key);
        at.map(|i| self.components.remove(i).value)
            .ok_or_else(|| missing("component", key))
    }
}
