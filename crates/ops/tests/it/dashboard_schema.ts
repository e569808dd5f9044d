// What Grafana's published types say of a dashboard, made strict: enums as the literals that stand in JSON, and for each kind of
// panel its own options, so that a key that is misspelt or misplaced does not compile.
import type { Dashboard, DashboardLink, FieldConfig, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type {
  FieldConfig as LinesField,
  Options as LinesOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type {
  FieldConfig as TableField,
  Options as TableOptions,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';

type Plain<T> = T extends string
  ? `${T}`
  : T extends number
    ? `${T}` extends `${infer N extends number}` ? N : never
    : T extends boolean | null | undefined
      ? T
      : T extends (infer U)[]
        ? Plain<U>[]
        : T extends object
          ? { [K in keyof T]: Plain<T[K]> }
          : T;

interface Source {
  type: 'prometheus';
  uid: string;
}

interface Target {
  refId: string;
  datasource: Source;
  expr: string;
  legendFormat: string;
  range?: boolean;
  exemplar?: boolean;
  instant?: boolean;
  format?: 'table' | 'time_series';
}

interface Organize {
  id: 'organize';
  options: { excludeByName?: Record<string, boolean>; renameByName?: Record<string, string> };
}

interface Override {
  matcher: { id: 'byName' | 'byRegexp'; options: string };
  properties: { id: string; value: unknown }[];
}

type Field<Custom> = Omit<Plain<FieldConfig>, 'custom'> & { custom: Plain<Custom> };

type Of<Kind extends string, Options, Custom> = Pick<Plain<Panel>, 'id' | 'title' | 'description' | 'gridPos'> & {
  type: Kind;
  datasource: Source;
  links: Plain<DashboardLink>[];
  targets: Target[];
  options: Plain<Options>;
  fieldConfig: { defaults: Field<Custom>; overrides: Override[] };
  transformations?: Organize[];
};

export type Strict = Omit<Plain<Dashboard>, 'panels' | 'templating'> & {
  templating: { list: Plain<VariableModel>[] };
  panels: (Of<'timeseries', LinesOptions, LinesField> | Of<'table', TableOptions, TableField> | Plain<RowPanel>)[];
};
