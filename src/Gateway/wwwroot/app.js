// The page: a prompt, its picture as it develops, and the pictures of its session. It uses the same API as any other
// client; a stream that breaks is resumed after the last event received.
'use strict';

const $ = id => document.getElementById(id);
// Prompts that the default model nearly always draws correctly; a test checks this.
const EXAMPLES = ['a fish on the ocean', 'a white moon at night', 'pixel art of a red heart',
  'a swirly painting of a tree', 'an orange triangle and a blue ring', 'a white moon inside a purple circle'];
const PAGE = 24, PAUSE = 1000, SEED_MAX = 2 ** 48;
const ENDS = ['done', 'failed', 'cancelled'];
const PHASES = {
  encoding: 'Reading the prompt',
  queued_denoise: 'Waiting for a worker',
  queued_decode: 'Almost done',
  decoding: 'Almost done',
};

let key = null, session = null, current = null, watching = null, next = 0;
const files = new Map(); // Maps paths of pictures to object URLs of the fetched files.

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(method, path, body, headers) {
  const answer = await fetch(path, {
    method, cache: 'no-store',
    headers: {
      authorization: `Bearer ${key}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...headers,
    },
    body: body ? JSON.stringify(body) : undefined,
  });
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => null);
    throw new Refused(answer.status, refusal?.error?.message ?? `The server responded with status ${answer.status}.`);
  }
  return answer;
}

const ask = async (method, path, body) => {
  const answer = await call(method, path, body);
  return answer.status === 204 ? null : answer.json().catch(() => null);
};

// Requests for pictures need the key, which an img element cannot send.
async function file(path) {
  if (!files.has(path)) files.set(path, URL.createObjectURL(await (await call('GET', path)).blob()));
  return files.get(path);
}

function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch { /* A private window does not store anything. */ }
}

function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

const pause = time => new Promise(done => setTimeout(done, time));
const newId = prefix => prefix + Array.from(
  crypto.getRandomValues(new Uint8Array(10)), byte => byte.toString(16).padStart(2, '0')).join('');

function randomSeed() {
  const numbers = crypto.getRandomValues(new Uint32Array(2));
  return (numbers[0] * 65536 + (numbers[1] & 65535)) % SEED_MAX;
}

// ---- Signing in -----------------------------------------------------------------------------------------------------

const linkedKey = () => new URLSearchParams(location.hash.slice(1)).get('key');
const owner = text => /^atl_(.+)_[A-Za-z0-9_-]{43}$/.exec(text)?.[1] ?? 'somebody else';

async function open() {
  let given = linkedKey();
  const kept = recall('atelier.key');
  if (given) history.replaceState(null, '', location.pathname);
  if (given && kept && given !== kept && await works(kept) && !await confirmReplacement(kept, given)) given = null;
  if (given) remember('atelier.key', given);
  key = given ?? kept;
  if (!key) return shut('');
  try {
    const models = (await ask('GET', '/v1/models')).data;
    await enter(models[0]);
  } catch (error) {
    shut(error.message);
    if (!(error instanceof Refused) || error.status >= 500) {
      await pause(3 * PAUSE);
      if (!$('door').hidden && !$('key').value) open();
    }
  }
}

// Whether the stored key still works. If not, it is replaced without asking the user.
async function works(kept) {
  key = kept;
  return ask('GET', '/v1/models').then(() => true, error => error.status !== 401);
}

// Anybody can make a link that contains their own key, and would then own the pictures drawn with it. So the user
// decides.
function confirmReplacement(kept, given) {
  const dialog = $('other-key');
  $('own-tenant').textContent = owner(kept);
  $('other-tenant').textContent = owner(given);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(done => { dialog.onclose = () => done(dialog.returnValue === 'replace'); });
}

function shut(message) {
  $('studio').hidden = true;
  $('forget').hidden = true;
  $('door').hidden = false;
  $('key-error').textContent = message;
  $('key').focus();
}

async function enter(model) {
  $('door').hidden = true;
  $('studio').hidden = false;
  $('forget').hidden = false;
  $('model').textContent = model ? (model.name ?? model.id) : 'No model is available yet';
  $('steps').placeholder = model?.steps ?? '';
  $('guidance').placeholder = model?.guidance ?? '';
  ask('GET', '/v1/training/runs').then(() => { $('training-link').hidden = false; }, () => { /* May not train. */ });
  $('size').textContent = model?.sizes ? `Pictures of ${model.sizes.join(', ')} pixels.` : '';
  session = recall('atelier.session');
  if (session) {
    const found = await ask('GET', `/v1/sessions/${session}`).catch(error => {
      if (error.status === 404 || error.status === 410) return null;
      throw error;
    });
    session = found?.id;
  }
  if (!session) {
    session = newId('s');
    await ask('POST', '/v1/sessions', { id: session });
    remember('atelier.session', session);
  }
  await showHistory();
  $('prompt').focus();
}

// ---- Drawing --------------------------------------------------------------------------------------------------------

function readForm() {
  const number = id => $(id).value === '' ? undefined : Number($(id).value);
  return {
    id: newId('g'),
    prompt: $('prompt').value.trim(),
    negative_prompt: $('negative').value.trim() || undefined,
    steps: number('steps'),
    guidance: number('guidance'),
    seed: number('seed') ?? randomSeed(),
    previews: Number($('previews').value),
  };
}

async function submit(path, body) {
  busy(true);
  say('', '');
  try {
    // The id is chosen here, so a request whose response was lost can be sent again without drawing twice.
    for (let tries = 0; ; tries++) {
      try {
        const generation = await ask('POST', path, body);
        await follow(generation);
        return;
      } catch (error) {
        if (tries >= 4 || (error instanceof Refused && error.status < 500)) throw error;
        await pause(PAUSE);
      }
    }
  } catch (error) {
    say('', error.message);
    if (error.status === 401) shut(error.message);
  } finally {
    busy(false);
  }
}

async function follow(generation) {
  current = generation;
  $('cancel').hidden = false;
  $('picture-tools').hidden = true;
  let last = null;
  while (!ENDS.includes(current.phase)) {
    const ended = await watch(generation.id, last, (id, event) => { last = id ?? last; progress(event); });
    if (!ended) await pause(PAUSE);
    current = await ask('GET', `/v1/generations/${generation.id}`).catch(error => {
      if (error instanceof Refused && error.status < 500) throw error;
      return current;
    });
    if (!ENDS.includes(current.phase)) progress(current);
  }
  await show(current);
  await showHistory();
}

// Reads server-sent events without an EventSource, which cannot send a key. Returns true if the last event has arrived.
async function watch(id, last, take) {
  watching = new AbortController();
  try {
    const answer = await fetch(`/v1/generations/${id}/events`, {
      headers: { authorization: `Bearer ${key}`, ...(last ? { 'last-event-id': last } : {}) },
      signal: watching.signal, cache: 'no-store',
    });
    if (!answer.ok || answer.status === 204) return answer.status === 204;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) {
        const lines = block.split(/\r?\n/);
        const field = name => lines.find(line => line.startsWith(name + ':'))?.slice(name.length + 1).trim();
        const data = field('data');
        if (!data) continue;
        const event = JSON.parse(data);
        if (event.phase) take(field('id'), event);
        if (ENDS.includes(event.phase)) return true;
      }
    }
  } catch {
    return false; // The caller resumes.
  } finally {
    watching = null;
  }
}

function progress(event) {
  $('progress').hidden = false;
  if (event.phase === 'denoising') $('progress').value = event.step / (event.steps || 1);
  else $('progress').removeAttribute('value');
  $('status').textContent = statusText(event);
  if (event.preview) {
    file(event.preview).then(
      url => { if (current && !ENDS.includes(current.phase)) showPicture(url, true); }, () => { });
  }
}

function statusText(event) {
  if (event.phase === 'denoising') return `Step ${event.step} of ${event.steps || 1}`;
  if (event.phase !== 'queued_encode') return PHASES[event.phase] ?? '';
  const wait = event.wait_seconds != null ? `, about ${Math.max(1, Math.round(event.wait_seconds))} s` : '';
  if (event.loading_seconds != null) return `A worker loads the model${wait}`;
  return event.position > 0 ? `Behind ${event.position} of your own requests${wait}` : `Waiting for a worker${wait}`;
}

function showPicture(url, unfinished) {
  $('picture').src = url;
  $('picture').hidden = false;
  $('empty').hidden = true;
  $('picture').classList.toggle('unfinished', unfinished);
}

async function show(generation) {
  current = generation;
  $('progress').hidden = true;
  $('cancel').hidden = true;
  $('picture-tools').hidden = generation.phase !== 'done';
  if (generation.phase !== 'done') {
    say(generation.phase === 'cancelled' ? 'Cancelled.' : '', generation.error?.message ?? '');
    return;
  }
  const seed = generation.seed_text ?? generation.seed;
  const url = await file(generation.picture);
  showPicture(url, false);
  $('picture').alt = generation.prompt;
  $('download').href = url;
  $('download').download = `${generation.prompt.replace(/[^A-Za-z0-9]+/g, '-').slice(0, 60)}-${seed}.png`;
  $('facts').textContent = `seed ${seed}, ${generation.steps} steps, guidance ${generation.guidance}`;
  say(generation.prompt, '');
}

function say(status, error) {
  $('status').textContent = status;
  $('error').textContent = error;
}

function busy(is) {
  $('draw').disabled = is;
  $('vary').disabled = is;
  if (!is) {
    $('progress').hidden = true;
    $('cancel').hidden = true;
  }
}

// ---- History --------------------------------------------------------------------------------------------------------

// Shows the newest pictures first; the API counts from the oldest.
async function showHistory() {
  const { generations } = await ask('GET', `/v1/sessions/${session}`);
  next = generations;
  $('history').replaceChildren();
  await showOlder();
}

async function showOlder() {
  const end = next, start = Math.max(0, end - PAGE);
  next = start;
  $('older').hidden = start === 0;
  if (end === start) return;
  const { items } = await ask('GET', `/v1/sessions/${session}/generations?start=${start}&count=${end - start}`);
  for (const item of items.reverse()) $('history').append(card(item));
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function card(generation) {
  const entry = element('li');
  const button = element('button', { className: 'card', type: 'button', title: generation.prompt });
  const blank = element('span', {
    className: 'blank', textContent: generation.phase === 'done' ? '' : generation.phase.replace('_', ' '),
  });
  button.append(blank, element('span', { className: 'caption', textContent: generation.prompt }));
  if (generation.picture) {
    file(generation.picture).then(
      url => blank.replaceWith(element('img', { src: url, alt: '' })), () => { blank.textContent = 'not found'; });
  }
  button.onclick = async () => {
    $('prompt').value = generation.prompt;
    $('negative').value = generation.negative_prompt ?? '';
    $('steps').value = generation.steps;
    $('guidance').value = generation.guidance;
    $('seed').value = generation.seed_text ?? generation.seed;
    await show(await ask('GET', `/v1/generations/${generation.id}`)).catch(error => say('', error.message));
    scrollTo({ top: 0, behavior: 'smooth' });
  };
  const remove = element('button', { className: 'delete', type: 'button', textContent: '×' });
  remove.setAttribute('aria-label', `Delete ${generation.prompt}`);
  remove.onclick = () => ask('DELETE', `/v1/generations/${generation.id}`).then(
    () => entry.remove(), error => say('', error.message));
  entry.append(button, remove);
  return entry;
}

// ---- Event handlers -------------------------------------------------------------------------------------------------

$('keep').onclick = () => $('other-key').close();
$('replace').onclick = () => $('other-key').close('replace');
addEventListener('hashchange', () => { if (linkedKey()) location.reload(); });
$('key-form').onsubmit = event => {
  event.preventDefault();
  remember('atelier.key', $('key').value.trim());
  $('key').value = '';
  open();
};
$('forget').onclick = () => {
  remember('atelier.key', null);
  remember('atelier.session', null);
  key = null;
  location.reload();
};
$('draw-form').onsubmit = event => {
  event.preventDefault();
  submit(`/v1/sessions/${session}/generations`, readForm());
};
$('vary').onclick = () => submit(
  `/v1/sessions/${session}/generations/${current.id}/variations`, { id: newId('g') });
$('cancel').onclick = () => ask('POST', `/v1/generations/${current.id}/cancel`)
  .catch(error => say('', error.message));
$('dice').onclick = () => { $('seed').value = randomSeed(); };
$('older').onclick = () => showOlder().catch(error => say('', error.message));
$('renew').onclick = () => {
  remember('atelier.session', null);
  location.reload();
};
$('prompt').onkeydown = event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('draw-form').requestSubmit();
};
for (const text of EXAMPLES) {
  const chip = element('button', { type: 'button', textContent: text });
  chip.onclick = () => {
    $('prompt').value = text;
    $('prompt').focus();
  };
  $('chips').append(chip);
}
open();
