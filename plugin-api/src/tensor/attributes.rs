//! Attributes of operations as they cross the boundary: whole numbers and floats, in order. Each type is written and read in one place.

use super::DType;

/// Attributes on their way to the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    ints: Vec<i64>,
    floats: Vec<f64>,
}

impl Attributes {
    /// The whole numbers, flags and codes.
    pub fn ints(&self) -> &[i64] {
        &self.ints
    }

    /// The floats.
    pub fn floats(&self) -> &[f64] {
        &self.floats
    }
}

/// Attributes as the host reads them, with care: they come from a plugin.
pub struct Reader<'a> {
    ints: &'a [i64],
    floats: &'a [f64],
    /// How many of each were read.
    read: [usize; 2],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning.
    pub fn new(ints: &'a [i64], floats: &'a [f64]) -> Self {
        let read = [0; 2];
        Self { ints, floats, read }
    }

    fn int(&mut self) -> Result<i64, String> {
        let [at, _] = self.read;
        self.read[0] += 1;
        let found = self.ints.get(at).copied();
        found.ok_or_else(|| format!("integer attribute {at} is missing"))
    }

    fn float(&mut self) -> Result<f64, String> {
        let [_, at] = self.read;
        self.read[1] += 1;
        let found = self.floats.get(at).copied();
        found.ok_or_else(|| format!("float attribute {at} is missing"))
    }

    /// Whole numbers and floats that nobody has read.
    pub(super) fn more(&self) -> [usize; 2] {
        let [ints, floats] = self.read;
        [
            self.ints.len().saturating_sub(ints),
            self.floats.len().saturating_sub(floats),
        ]
    }

    /// Refuses what nobody read: an operation would do less than it was asked for.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.more() {
            [0, 0] => Ok(()),
            [ints, floats] => Err(format!(
                "{ints} integer and {floats} float attributes more than this version knows; the plugin needs a newer host"
            )),
        }
    }
}

/// A type of attribute.
pub trait Attribute: Sized {
    /// Appends it.
    fn write(&self, to: &mut Attributes);

    /// Reads the next one.
    ///
    /// # Errors
    /// When it is missing or out of range.
    fn read(from: &mut Reader<'_>) -> Result<Self, String>;
}

impl Attribute for i64 {
    fn write(&self, to: &mut Attributes) {
        to.ints.push(*self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        from.int()
    }
}

impl Attribute for f64 {
    fn write(&self, to: &mut Attributes) {
        to.floats.push(*self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        from.float()
    }
}

impl Attribute for bool {
    fn write(&self, to: &mut Attributes) {
        i64::from(*self).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let [at, _] = from.read;
        match from.int()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!(
                "integer attribute {at} is {other}, expected 0 or 1"
            )),
        }
    }
}

/// A size or an index.
impl Attribute for usize {
    fn write(&self, to: &mut Attributes) {
        (*self as i64).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let int = from.int()?;
        // Up to i32::MAX no sum or product of two can overflow.
        let size = i32::try_from(int).ok();
        let size = size.and_then(|int| usize::try_from(int).ok());
        size.ok_or_else(|| format!("{int} is not a size or index, expected 0 to {}", i32::MAX))
    }
}

/// Height and width.
impl Attribute for [usize; 2] {
    fn write(&self, to: &mut Attributes) {
        self.iter().for_each(|size| size.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        Ok([usize::read(from)?, usize::read(from)?])
    }
}

/// A struct crosses as its fields, in this order.
macro_rules! fields {
    ($type:ident { $($field:ident),* }) => {
        impl crate::tensor::attributes::Attribute for $type {
            fn write(&self, to: &mut crate::tensor::attributes::Attributes) {
                $(crate::tensor::attributes::Attribute::write(&self.$field, to);)*
            }

            fn read(from: &mut crate::tensor::attributes::Reader<'_>) -> Result<Self, String> {
                Ok(Self { $($field: crate::tensor::attributes::Attribute::read(from)?),* })
            }
        }
    };
}

pub(super) use fields;

/// All sizes that are left.
impl Attribute for Vec<usize> {
    fn write(&self, to: &mut Attributes) {
        self.iter().for_each(|size| size.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let [more, _] = from.more();
        (0..more).map(|_| usize::read(from)).collect()
    }
}

impl Attribute for DType {
    fn write(&self, to: &mut Attributes) {
        i64::from(self.0).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let code = from.int()?;
        let code = u32::try_from(code).map_err(|_| format!("unknown element type #{code}"))?;
        Ok(Self(code))
    }
}
