//! How images came to be, for the report: an animation and a film strip, as small as the page has room for.

use anyhow::{Context, Result};
use minijinja::context;

use super::{
    film::{Film, animation, cell_px, strip},
    page::{environment, inlined},
    units::human_count,
};

/// The most bytes of a report: it is sent by mail, and opens at once.
pub const PAGE_BYTES: usize = 5_000_000;
/// Of these, as files, which are a third larger inside the page: an animation, a strip. The gallery takes as much
/// ([`super::thumbnails`]); what is left is for charts, tables and the experiment.
const ANIMATION_BYTES: usize = 1_200_000;
const STRIP_BYTES: usize = 400_000;

/// Ways to draw a film, each smaller than the one before: pixels of an image, images, states. The last of either fits whatever the
/// images show: noise of 8 bits in 3 colours has that many bytes.
const ANIMATIONS: [(u32, usize, usize); 7] = [
    (128, 20, 64),
    (96, 20, 64),
    (64, 20, 64),
    (64, 10, 48),
    (48, 10, 24),
    (32, 10, 24),
    (32, 5, 64),
];
const STRIPS: [(u32, usize, usize); 4] = [(96, 10, 8), (64, 10, 8), (64, 6, 5), (48, 6, 8)];
/// So many times smaller no encoder makes a picture, pixels that were only enlarged not counted.
const HOPELESS: usize = 8;
/// Images smaller than this are enlarged to it.
const ENLARGED_PX: u32 = 64;

/// One picture of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The PNG file.
    pub png: Vec<u8>,
    /// What it shows.
    pub caption: String,
}

/// An animation and a strip of a film, each within its share of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// All states one after the other.
    pub animation: Picture,
    /// Some of them side by side.
    pub strip: Picture,
}

impl Recovery {
    /// Draws a film; none of fewer than two states.
    ///
    /// # Errors
    /// When a picture cannot be encoded.
    pub fn of(film: &Film) -> Result<Option<Self>> {
        if film.states.len() < 2 || film.subjects.is_empty() {
            return Ok(None);
        }
        let (shown, cell, png) = smallest(film, &ANIMATIONS, ANIMATION_BYTES, animation)?;
        let animation = Picture {
            caption: caption(film, &shown, cell, (ANIMATIONS[0], "one after the other")),
            png,
        };
        let firsts = one_of_each(film);
        let (shown, cell, png) = smallest(&firsts, &STRIPS, STRIP_BYTES, strip)?;
        let strip = Picture {
            caption: caption(&firsts, &shown, cell, (STRIPS[0], "side by side")),
            png,
        };
        Ok(Some(Self { animation, strip }))
    }

    /// The part of the page that shows it, trusted HTML.
    ///
    /// # Errors
    /// Fails when the template does, which no input is known to cause.
    pub fn section(&self) -> Result<String> {
        let picture = |picture: &Picture, alt: &str| {
            context! { src => inlined(&picture.png), caption => picture.caption.as_str(), alt }
        };
        let page = context! {
            pictures => [
                picture(&self.animation, "Animation of the images, iteration by iteration"),
                picture(&self.strip, "A row for each image, a column for each of some iterations"),
            ],
        };
        let section = environment().render_named_str("recovery.html", SECTION, page);
        section.context("the animation in the report")
    }
}

const SECTION: &str = r#"<section class="recovery">
<h2>How the images came to be</h2>
{%- for picture in pictures %}
<figure style="margin: 0 0 20px">
<img src="{{ picture.src }}" alt="{{ picture.alt }}" style="display: block; max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px">
<p class="note" style="margin: 8px 0 0">{{ picture.caption }}</p>
</figure>
{%- endfor %}
</section>"#;

/// The first of the ways to draw a film that stays below a limit: what it shows, the pixels of an image, and the file.
fn smallest(
    film: &Film,
    ways: &[(u32, usize, usize)],
    limit: usize,
    draw: fn(&Film, u32) -> Result<Vec<u8>>,
) -> Result<(Film, u32, Vec<u8>)> {
    let side = film.side();
    let mut smallest = None;
    for (number, &(px, images, states)) in ways.iter().enumerate() {
        let most = if side < px { px.min(ENLARGED_PX) } else { px };
        let (part, cell) = (film.part(images, states), cell_px(side, most));
        let pixels = part.subjects.len() * part.states.len() * (side.min(cell) as usize).pow(2);
        if 3 * pixels > HOPELESS * limit && number + 1 < ways.len() {
            continue;
        }
        let png = draw(&part, cell)?;
        let fits = png.len() <= limit;
        smallest = Some((part, cell, png));
        if fits {
            break;
        }
    }
    smallest.context("no way to draw a film")
}

/// The first image of each class alone.
fn one_of_each(film: &Film) -> Film {
    let first = |index: &usize| {
        let subjects = &film.subjects[..*index];
        let name = &film.subjects[*index].class_name;
        subjects.iter().all(|s| s.class_name != *name)
    };
    let firsts: Vec<usize> = (0..film.subjects.len()).filter(first).collect();
    Film {
        subjects: firsts.iter().map(|&i| film.subjects[i].clone()).collect(),
        states: (film.states.iter())
            .map(|(iteration, tiles)| {
                let tiles = firsts.iter().map(|&i| tiles[i].clone());
                (*iteration, tiles.collect())
            })
            .collect(),
    }
}

/// Which images and iterations are shown, and what was left out so that the page stays small.
fn caption(
    film: &Film,
    shown: &Film,
    cell_px: u32,
    ((_, images, states), how): ((u32, usize, usize), &str),
) -> String {
    let iterations: Vec<String> = shown
        .states
        .iter()
        .map(|(iteration, _)| human_count(*iteration))
        .collect();
    let mut classes: Vec<&str> = shown.subjects.iter().map(|s| &*s.class_name).collect();
    classes.dedup();
    let count = shown.subjects.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut caption = format!(
        "{count} image{plural} after {} iterations, {how}. Classes: {}.",
        iterations.join(", "),
        classes.join(", ")
    );
    let mut less = Vec::new();
    if cell_px < film.side() {
        less.push(format!("at {cell_px} of {} pixels", film.side()));
    }
    // More are never shown in this way, however small they are.
    let [images, states] = [
        film.subjects.len().min(images),
        film.states.len().min(states),
    ];
    if count < images {
        less.push(format!("{count} of {images} images"));
    }
    if shown.states.len() < states {
        less.push(format!("{} of {states} states", shown.states.len()));
    }
    if !less.is_empty() {
        caption += &format!(" Shown {}, so that this page stays small.", less.join(", "));
    }
    caption
}

#[cfg(test)]
mod tests {
    use super::{super::film::tests::film, *};

    #[test]
    fn pictures_stay_below_their_limits_whatever_they_show() {
        for (subjects, states, side) in [(20, 64, 256), (9, 24, 224), (20, 24, 32), (1, 64, 512)] {
            let recovery = Recovery::of(&film(subjects, states, side))
                .unwrap()
                .unwrap();
            let size = |picture: &Picture| picture.png.len();
            assert!(size(&recovery.animation) <= ANIMATION_BYTES, "{side}");
            assert!(size(&recovery.strip) <= STRIP_BYTES, "{side}");
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let recovery = Recovery::of(&film(20, 24, 256)).unwrap().unwrap();
        let caption = &recovery.animation.caption;
        assert!(caption.contains(" of 256 pixels, "), "{caption}");
        assert!(caption.contains(" of 20 images"), "{caption}");
        let whole = Recovery::of(&film(2, 3, 8)).unwrap().unwrap();
        assert_eq!(
            whole.animation.caption,
            "2 images after 0, 1, 4 iterations, one after the other. Classes: class 0, class 1."
        );
    }

    #[test]
    fn a_single_state_is_no_film() {
        assert_eq!(Recovery::of(&film(2, 1, 8)).unwrap(), None);
        assert_eq!(Recovery::of(&film(0, 4, 8)).unwrap(), None);
    }

    #[test]
    fn names_of_classes_are_escaped() {
        let mut film = film(1, 2, 8);
        film.subjects[0].class_name = "\"><script>".to_owned();
        let section = Recovery::of(&film).unwrap().unwrap().section().unwrap();
        assert!(!section.contains("<script"), "{section}");
        assert!(section.contains("&lt;script&gt;") && section.contains("data:image/png;base64,"));
    }
}
