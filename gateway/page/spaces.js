// What the page calls the spaces of a collection, and how many columns they make.

const METRICS = { METRIC_L2: "Euclidean distance", METRIC_COSINE: "cosine distance" };

/** A space's name for people: `main_colours` is "Main colours". */
export const titleOf = (name) => `${name.charAt(0).toUpperCase()}${name.slice(1).replaceAll("_", " ")}`;

const histogramOf = (space) => space.histogram ?? null;

function aboutOf({ model, histogram }, spaces) {
  if (histogram) {
    const what = histogram.color ? "Which colours, and how much of them" : "How bright, and how much of it";
    return histogram.grid > 1 ? `${what}, part by part` : what;
  }
  const isOnlyModel = spaces.filter((space) => space.model).length <= 1;
  return isOnlyModel || !model?.name ? "What is in the picture" : `What the model ${model.name} sees in the picture`;
}

/** {name, title, metric, about, kind} of each space of a collection, in its order. */
export const shownSpaces = ({ spaces }) => spaces.map((space) => ({
  name: space.name,
  title: titleOf(space.name),
  metric: METRICS[space.metric] ?? "distance",
  about: aboutOf(space, spaces),
  kind: histogramOf(space) ? "histogram" : "model",
}));

/** The space whose vector is drawn: the first histogram, or none. */
export const drawnSpace = (collection) => collection?.spaces.find(histogramOf);

/** Columns side by side, in a wide window and in a narrow one. */
export const columnsOf = (count) => ({ "--columns": count === 4 ? 2 : Math.min(count, 3), "--narrow-columns": Math.min(count, 2) });
