// Fills the widget `made_for` with what the file chosen in `artefact` says of itself: its network and its settings.
// Own words stay. Loading a workflow fills nothing: only a choice does.

import { app } from "../../scripts/app.js";

const FILLED = "made_for_filled";

// What the files say, by file name, by node type: it comes with the node definitions and is renewed with them.
const purposes = new Map();

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

function fill(node, file) {
  const text = widgetOf(node, "made_for");
  const isOwn = text.value && text.value !== node.properties[FILLED];
  if (isOwn) return;
  text.value = purposes.get(node.comfyClass)[file] ?? "";
  node.properties[FILLED] = text.value;
}

app.registerExtension({
  name: "FeatureCache.MadeFor",

  beforeRegisterNodeDef(nodeType, definition) {
    const inputs = { ...definition.input?.required, ...definition.input?.optional };
    const told = inputs.artefact?.[1]?.made_for;
    if (told) purposes.set(definition.name, told);
  },

  nodeCreated(node) {
    const artefact = widgetOf(node, "artefact");
    if (!artefact || !purposes.has(node.comfyClass)) return;
    const before = artefact.callback;
    artefact.callback = function (file, ...others) {
      const result = before?.call(this, file, ...others);
      fill(node, file);
      return result;
    };
  },
});
