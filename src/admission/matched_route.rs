//! The route that a request matched.

/// A route in the table of a policy that selects routes: its name, for handlers and logs, and its index in the table.
///
/// An [`Admission`](super::Admission) refers to it for as long as the process runs, so that a request neither allocates
/// nor counts references for it: put it in a `static`, or [leak](Vec::leak) a table that is built when the program
/// starts.
///
/// ```
/// use portcullis::{Admission, Head, Policy, Stop, admission::MatchedRoute};
///
/// static ROUTES: [MatchedRoute; 2] = [MatchedRoute::new("orders", 0), MatchedRoute::new("other", 1)];
///
/// struct Routes;
///
/// impl Policy for Routes {
///     fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
///         let index = usize::from(!head.uri.path().starts_with("/orders/"));
///         admission.set_matched_route(&ROUTES[index]);
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct MatchedRoute {
    name: &'static str,
    index: usize,
}

impl MatchedRoute {
    /// Creates a route with its name and its index.
    #[must_use]
    pub const fn new(name: &'static str, index: usize) -> Self {
        Self { name, index }
    }

    /// Returns the name of the route.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the index of the route in the table of its policy.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}
