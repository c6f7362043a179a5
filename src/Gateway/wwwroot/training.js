// The page of training runs: their progress, curves and what happened to them.
'use strict';

const $ = id => document.getElementById(id);
const PERIOD = 2000;
const CURVES = ['loss', 'gradient_norm', 'learning_rate'];
const OPEN = ['running', 'paused'];
const files = new Map(); // Maps a curve or panel to its newest version and the object URL of that file.

let key = null, chosen = null, turn = 0;

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(method, path, body) {
  const answer = await fetch(path, {
    method, cache: 'no-store',
    headers: { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => null);
    throw new Refused(answer.status, refusal?.error?.message ?? `The server responded with status ${answer.status}.`);
  }
  return answer;
}

// Requests for files need the key, which an img element cannot send.
async function file(path, version, name = path) {
  const known = files.get(name);
  if (known?.version === version) return known.url;
  const url = URL.createObjectURL(await (await call('GET', path)).blob());
  if (known) URL.revokeObjectURL(known.url);
  files.set(name, { version, url });
  return url;
}

function stored(area, name) {
  try { return area.getItem(name); } catch { return null; }
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const pathOf = id => `/v1/training/runs/${encodeURIComponent(id)}`;
const time = text => new Date(text).toLocaleString();
const duration = seconds => {
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

async function open() {
  key = stored(sessionStorage, 'atelier.training') ?? stored(localStorage, 'atelier.key');
  if (!key) return shut('');
  try {
    await show();
    $('door').hidden = true;
    $('training').hidden = false;
    $('forget').hidden = false;
    chosen = decodeURIComponent(location.hash.slice(1)) || null;
    follow();
  } catch (error) {
    shut(error.status === 403 && !stored(sessionStorage, 'atelier.training') ? '' : error.message);
  }
}

function shut(message) {
  $('training').hidden = true;
  $('forget').hidden = true;
  $('door').hidden = false;
  $('key-error').textContent = message;
  $('key').focus();
}

async function follow() {
  const own = ++turn;
  while (own === turn) {
    try {
      await show();
      if (chosen) await showRun(chosen, own);
      $('error').textContent = '';
    } catch (error) {
      if (error.status === 401 || error.status === 403) return shut(error.message);
      $('error').textContent = error.message;
    }
    await new Promise(done => setTimeout(done, PERIOD));
  }
}

async function show() {
  const runs = (await (await call('GET', '/v1/training/runs')).json()).data;
  $('empty').hidden = runs.length > 0;
  $('runs').hidden = runs.length === 0;
  $('runs').tBodies[0].replaceChildren(...runs.map(run => {
    const link = element('a', { href: `#${encodeURIComponent(run.id)}`, textContent: run.id });
    const progress = element('progress', { max: Math.max(run.steps, 1), value: run.safe_step });
    progress.setAttribute('aria-label', `${run.safe_step} of ${run.steps} steps`);
    return element('tr', { className: run.id === chosen ? 'chosen' : '' },
      element('td', {}, link), element('td', { textContent: run.status }),
      element('td', { textContent: `${run.stage_name} (${run.stage + 1} of ${run.stage_count})` }),
      element('td', {}, progress), element('td', { textContent: time(run.submitted_at) }));
  }));
}

async function showRun(id, own) {
  const run = await (await call('GET', pathOf(id))).json();
  const stages = await Promise.all(run.stages.map((stage, i) => stageOf(run, stage, i)));
  if (own !== turn || id !== chosen) return;
  $('run').hidden = false;
  $('run-name').textContent = run.id;
  $('run-status').textContent = `${run.status}, ${Math.round(run.device_seconds)} device-seconds`
    + (run.budget_seconds ? ` of ${run.budget_seconds}` : '');
  $('pause').hidden = run.status !== 'running';
  $('resume').hidden = run.status !== 'paused';
  $('trouble').textContent = run.stages.at(-1)?.trouble ?? '';
  $('stages').replaceChildren(...stages.reverse());
}

async function stageOf(run, stage, index) {
  const path = `${pathOf(run.id)}/stages/${index}`;
  const isOpen = OPEN.includes(run.status) && index + 1 === run.stages.length;
  const facts = [
    `step ${stage.step} of ${stage.steps}`, stage.loss === null ? '' : `loss ${stage.loss?.toFixed(4)}`,
    stage.images_per_second ? `${Math.round(stage.images_per_second)} images/s` : '',
    isOpen && stage.seconds_left ? `${duration(stage.seconds_left)} left` : '',
    isOpen ? `${stage.trainers.filter(one => one.shards > 0).length} devices` : '',
  ].filter(fact => fact);
  const curves = await Promise.all(CURVES.map(async curve => {
    const source = await file(`${path}/curves/${curve}.svg`, stage.safe_step).catch(error => {
      if (error.status === 404) return null;
      throw error;
    });
    return source && element('img', { src: source, alt: curve.replace('_', ' '), className: 'curve' });
  }));
  const panels = stage.panels ?? [];
  const best = panels.filter(panel => panel.score !== null).toSorted((one, other) => other.score - one.score)[0];
  const sheets = await Promise.all([...new Set([panels.at(-1), best])].filter(panel => panel).map(async (panel, i) => {
    const source = await file(`${path}/panels/${panel.step}.png`, panel.step, `${path}/panel/${i}`).catch(error => {
      if (error.status === 404) return null;
      throw error;
    });
    const score = panel.score === null ? '' : `, CLIP score ${panel.score.toFixed(2)}`;
    return source && element('figure', { className: 'panel' },
      element('img', { src: source, alt: `pictures of step ${panel.step}` }),
      element('figcaption', { textContent: `step ${panel.step}${score}${panel === best ? ', the best' : ''}` }));
  }));
  const notes = element('ul', { className: 'notes' }, ...stage.notes.toReversed().map(note => element('li', {
    textContent: `${time(note.at)}, step ${note.step}: ${note.text}`,
  })));
  return element('article', {},
    element('h3', { textContent: stage.name }), element('p', { textContent: facts.join(' · ') }),
    element('div', { className: 'curves' }, ...curves.filter(curve => curve)),
    ...sheets.filter(sheet => sheet),
    element('details', { open: isOpen }, element('summary', { textContent: 'What happened' }), notes));
}

// ---- Event handlers -------------------------------------------------------------------------------------------------

$('key-form').onsubmit = event => {
  event.preventDefault();
  try { sessionStorage.setItem('atelier.training', $('key').value.trim()); } catch { /* The key is asked for again. */ }
  $('key').value = '';
  open();
};
$('forget').onclick = () => {
  try { sessionStorage.removeItem('atelier.training'); } catch { /* Nothing was stored. */ }
  location.reload();
};
for (const verb of ['pause', 'resume']) {
  $(verb).onclick = () => call('POST', `${pathOf(chosen)}/${verb}`, {})
    .then(follow, error => { $('error').textContent = error.message; });
}
addEventListener('hashchange', () => {
  chosen = decodeURIComponent(location.hash.slice(1)) || null;
  $('run').hidden = true;
  follow();
});
open();
