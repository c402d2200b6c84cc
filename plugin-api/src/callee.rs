//! [`Callee`]: a component of the other side that is called, and what its errors call it.

use crate::{
    Context as _, Result,
    abi::{ArgsBuf, Method, RComponent, Reply},
};

/// A component of the other side. A host gives it a name, so that every failed call says whose it is.
pub struct Callee {
    component: RComponent,
    name: Option<String>,
}

impl From<RComponent> for Callee {
    /// Without a name: errors are those of the component.
    fn from(component: RComponent) -> Self {
        Self {
            component,
            name: None,
        }
    }
}

impl Callee {
    /// With a name, such as `loss "kl" of plugin loss-kl 1.0.0`.
    pub fn named(component: RComponent, name: String) -> Self {
        Self {
            component,
            name: Some(name),
        }
    }

    /// A component that this one gave, with the same name.
    pub(crate) fn sibling(&self, component: RComponent) -> Self {
        Self {
            component,
            name: self.name.clone(),
        }
    }

    /// The component itself.
    pub(crate) fn into_component(self) -> RComponent {
        self.component
    }

    /// Calls `method` and reads the answer.
    ///
    /// # Errors
    /// What the component or `read` says, after the component's name and the method's.
    pub(crate) fn call<T>(
        &self,
        method: Method,
        args: &ArgsBuf<'_>,
        read: impl FnOnce(Reply) -> Result<T>,
    ) -> Result<T> {
        let answer = self.component.call(method, args).and_then(read);
        match &self.name {
            Some(name) => answer.with_context(|| format!("{name}: {}", method.name())),
            None => answer,
        }
    }
}
